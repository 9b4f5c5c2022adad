"""A local EVM chain with a test dollar: what ``tollway demo`` and the tests run on.

The chain is anvil, the token is our own (``tests/contracts/TestUSDC.sol``, compiled into ``test_token.json``)
and sits at the address of the official USDC of Base Sepolia, so that stock clients need no settings. Where
Multicall3 stands on other chains is a contract of our own, too (``TestBatcher.sol``).
"""

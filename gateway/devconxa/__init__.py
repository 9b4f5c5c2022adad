"""A CONXA service on this machine: what ``tollway demo --rail conxa`` and the tests charge.

It answers as the CONXA API does, as far as that is known, and is proven true by the official SDK. Wallets,
scans and faults are made under ``/_standin/``; nothing in it is money.
"""

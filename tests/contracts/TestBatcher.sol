// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// Carries out calls one after the other; each may fail by itself. What Multicall3 has under the same name.
contract TestBatcher {
    struct Call {
        address target;
        bool mayFail;
        bytes data;
    }

    struct Result {
        bool success;
        bytes answer;
    }

    function aggregate3(Call[] calldata calls) external payable returns (Result[] memory results) {
        results = new Result[](calls.length);
        for (uint256 index = 0; index < calls.length; ++index) {
            Result memory result = results[index];
            (result.success, result.answer) = calls[index].target.call(calls[index].data);
            require(result.success || calls[index].mayFail, "TestBatcher: a call failed");
        }
    }
}

// Compiles TestUSDC.sol to the artefact that ships with the gateway.
//
//   npm install --ignore-scripts && node compile.mjs [OUTPUT]
//
// OUTPUT defaults to gateway/devchain/test_token.json. SOLC_FROM names another folder to resolve `solc` in.
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const require = createRequire(join(process.env.SOLC_FROM ?? here, "package.json"));
const solc = require("solc");

const SOURCE = "TestUSDC.sol";
const CONTRACT = "TestUSDC";
const settings = {
  evmVersion: "cancun",
  optimizer: { enabled: true, runs: 200 },
  // Without the metadata hash the same source gives the same bytes wherever it is compiled.
  metadata: { appendCBOR: false, bytecodeHash: "none" },
};

function compile() {
  const content = readFileSync(join(here, SOURCE), "utf8");
  const input = {
    language: "Solidity",
    sources: { [SOURCE]: { content } },
    settings: { ...settings, outputSelection: { "*": { "*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object"] } } },
  };
  const output = JSON.parse(solc.compile(JSON.stringify(input)));
  const complaints = (output.errors ?? []).map((error) => error.formattedMessage);
  if (complaints.length > 0) {
    throw new Error(complaints.join("\n"));
  }
  return output.contracts[SOURCE][CONTRACT];
}

const { abi, evm } = compile();
const artefact = {
  contractName: CONTRACT,
  compiler: solc.version(),
  settings,
  abi,
  bytecode: `0x${evm.bytecode.object}`,
  deployedBytecode: `0x${evm.deployedBytecode.object}`,
};
const target = process.argv[2] ?? join(here, "../../gateway/devchain/test_token.json");
writeFileSync(target, `${JSON.stringify(artefact, null, 1)}\n`);

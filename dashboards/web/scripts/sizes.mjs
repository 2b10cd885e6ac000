// What the first load and each page weigh. The first load is the entry and all that it imports at once.
import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";

const FIRST_LOAD_KB_MAX = 300;

const dist = new URL("../dist/", import.meta.url);
const manifest = JSON.parse(readFileSync(new URL(".vite/manifest.json", dist), "utf8"));
const gzipKb = (file) => gzipSync(readFileSync(new URL(file, dist))).length / 1024;

/** The scripts and styles that a chunk needs before it runs. */
function needs(key, into = new Set()) {
  const chunk = manifest[key];
  if (into.has(chunk.file)) return into;
  into.add(chunk.file);
  for (const css of chunk.css ?? []) into.add(css);
  for (const other of chunk.imports ?? []) needs(other, into);
  return into;
}

const sum = (files, kind) => files.filter((file) => file.endsWith(kind)).reduce((kb, file) => kb + gzipKb(file), 0);
const row = (name, files) =>
  console.log(
    `${name.padEnd(44)} ${sum(files, ".js").toFixed(1).padStart(9)} ${sum(files, ".css").toFixed(1).padStart(9)}`,
  );

const entry = Object.keys(manifest).find((key) => manifest[key].isEntry);
const first = [...needs(entry)];
console.log(`${"gzip, KB".padEnd(44)} ${"script".padStart(9)} ${"style".padStart(9)}`);
row("first load", first);
for (const key of Object.keys(manifest).filter((key) => manifest[key].isDynamicEntry)) {
  row(
    `+ ${key.replace("../../", "")}`,
    [...needs(key)].filter((file) => !first.includes(file)),
  );
}
const firstKb = sum(first, ".js");
if (firstKb > FIRST_LOAD_KB_MAX) {
  console.error(`the first load is ${firstKb.toFixed(0)} KB of script, more than ${FIRST_LOAD_KB_MAX} KB`);
  process.exit(1);
}

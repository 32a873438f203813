// Writes ../static/vendor.js and vendor.css from entry.js, and the licences of what is in them.
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { build } from "esbuild";

const STATIC = new URL("../static/", import.meta.url);

/** Return the folders in node_modules of the packages that the bundle contains, sorted. */
function bundled(metafile) {
  const found = Object.keys(metafile.inputs)
    .map((path) => /^node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1])
    .filter((name) => name !== undefined);
  return [...new Set(found)].sort();
}

/** Return a package's name, version, licence and licence text. */
function licence(name) {
  const folder = new URL(`node_modules/${name}/`, import.meta.url);
  const { version, license } = JSON.parse(readFileSync(new URL("package.json", folder), "utf8"));
  const files = readdirSync(folder).filter((file) => /^(licen[cs]e|notice|legal)/i.test(file)).sort();
  const texts = files.map((file) => readFileSync(new URL(file, folder), "utf8").trim());
  return [`${name} ${version}: ${license}`, "", ...texts, ""].join("\n");
}

const { metafile } = await build({
  absWorkingDir: new URL(".", import.meta.url).pathname,
  entryPoints: { vendor: "entry.js" },
  bundle: true,
  format: "esm",
  target: "es2022",
  minify: true,
  legalComments: "none",
  banner: { js: "/* made by make console-vendor; licences: vendor.licences.txt */" },
  metafile: true,
  outdir: new URL(".", STATIC).pathname,
});
const text = bundled(metafile).map(licence).join("\n" + "-".repeat(80) + "\n\n");
writeFileSync(new URL("vendor.licences.txt", STATIC), text);

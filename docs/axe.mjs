// `node docs/axe.mjs FOLDER` opens each page of the folder in headless Chromium, light and dark, wide and at phone
// width, and prints what axe-core finds serious or critical, and which pages are wider than the screen. Exits with 1 if
// anything is found. Needs `npm install axe-core puppeteer-core` and Chromium (CHROMIUM names another one).
import { readFileSync, readdirSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { join, relative, resolve } from "node:path";

const require = createRequire(join(process.cwd(), "axe.mjs"));
const puppeteer = (await import(require.resolve("puppeteer-core"))).default;
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const site = resolve(process.argv[2]);

function* pages(folder) {
  for (const name of readdirSync(folder).sort()) {
    const path = join(folder, name);
    if (statSync(path).isDirectory()) {
      if (!name.startsWith("_")) yield* pages(path);
    } else if (name.endsWith(".html")) yield path;
  }
}

const browser = await puppeteer.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--allow-file-access-from-files"],
});
const tab = await browser.newPage();
let found = 0, looked = 0;
for (const path of pages(site)) {
  for (const [width, scheme] of [[1200, "light"], [390, "dark"], [390, "light"], [1200, "dark"]]) {
    await tab.setViewport({ width, height: 900 });
    await tab.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
    await tab.goto(`file://${path}`, { waitUntil: "load" });
    await new Promise((settled) => setTimeout(settled, 300)); // colours fade in
    await tab.evaluate(axe);
    const { violations } = await tab.evaluate(() => axe.run());
    const wide = await tab.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
    const where = `${relative(site, path)} (${width} px, ${scheme})`;
    looked += 1;
    for (const violation of violations.filter((v) => ["serious", "critical"].includes(v.impact))) {
      found += 1;
      const [first] = violation.nodes;
      console.log(`${where}: ${violation.id} ×${violation.nodes.length}: ${violation.help}; ${first.html.slice(0, 160)}`);
    }
    if (wide > 0) {
      found += 1;
      console.log(`${where}: ${wide} px wider than the screen`);
    }
  }
}
await browser.close();
console.log(`${looked} views of ${site}, ${found} findings`);
process.exit(found || !looked ? 1 : 0);

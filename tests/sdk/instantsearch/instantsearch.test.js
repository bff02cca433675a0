// InstantSearch in a browser, on a page of another origin than the server's: type, choose a facet, turn pages, sort.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { after, before, describe, test } from "node:test";

import { build } from "esbuild";
import { Meilisearch } from "meilisearch";
import { chromium } from "playwright-core";

const server = process.env.MEILI_URL;
const films = JSON.parse(readFileSync(new URL("../films.json", import.meta.url), "utf8"));
const name = `instantsearch-${process.pid}-${Date.now()}`;
const PATIENCE_MS = 30_000;

/** The page and its script, served at a port of its own. */
async function serve() {
  const bundle = await build({
    entryPoints: [new URL("page.js", import.meta.url).pathname],
    bundle: true,
    format: "esm",
    minify: true,
    write: false,
    logLevel: "error",
  });
  const files = {
    "/": ["text/html", readFileSync(new URL("index.html", import.meta.url))],
    "/page.js": ["text/javascript", bundle.outputFiles[0].contents],
  };
  const site = createServer((request, response) => {
    const file = files[new URL(request.url, "http://page").pathname];
    if (!file) return response.writeHead(404).end();
    return response.writeHead(200, { "content-type": file[0] }).end(file[1]);
  });
  await new Promise((listening) => site.listen(0, "127.0.0.1", listening));
  return site;
}

/** All films, searchable with a key that may do nothing else. */
async function fill() {
  const client = new Meilisearch({ host: server, apiKey: process.env.MEILI_KEY });
  const succeed = async (enqueued) => {
    const task = await enqueued.waitTask({ timeout: 120_000 });
    assert.equal(task.status, "succeeded", JSON.stringify(task.error));
  };
  const index = client.index(name);
  await succeed(index.addDocuments(films, { primaryKey: "id" }));
  await succeed(
    index.updateSettings({
      filterableAttributes: ["genres", "year"],
      sortableAttributes: ["year", "rating"],
      searchableAttributes: ["title", "director"],
    }),
  );
  const key = await client.createKey({ actions: ["search"], indexes: [name], expiresAt: null });
  return key.key;
}

describe("a page with InstantSearch", () => {
  let site;
  let browser;
  let page;
  let address;
  const complaints = [];

  before(async () => {
    const [started, key] = await Promise.all([serve(), fill()]);
    site = started;
    browser = await chromium.launch({
      executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
      args: [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
      ],
    });
    page = await browser.newPage();
    page.setDefaultTimeout(PATIENCE_MS);
    page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
    page.on("pageerror", (error) => complaints.push(String(error)));
    page.on("requestfailed", (request) => complaints.push(`${request.url()}: ${request.failure()?.errorText}`));
    address = `http://127.0.0.1:${site.address().port}/?${new URLSearchParams({ url: server, key, index: name })}`;
  });

  after(async () => {
    await browser?.close();
    site?.close();
  });

  const ids = () => page.$$eval("#hits .title", (titles) => titles.map((title) => Number(title.dataset.id)));

  /** Waits until the page shows these films in this order. */
  async function shows(expected) {
    await page
      .waitForFunction(
        (wanted) =>
          JSON.stringify([...document.querySelectorAll("#hits .title")].map((title) => Number(title.dataset.id))) === wanted,
        JSON.stringify(expected),
      )
      .catch(async () => assert.deepEqual(await ids(), expected, complaints.join("\n")));
  }

  /** Waits until the page says that it found so many. */
  async function finds(count) {
    const said = page.locator("#stats .ais-Stats-text");
    await page
      .waitForFunction((wanted) => document.querySelector("#stats")?.textContent.trim().startsWith(wanted), `${count} result`)
      .catch(async () => assert.equal(await said.textContent(), `${count} results`, complaints.join("\n")));
  }

  const firstIs = (id) =>
    page.waitForFunction((wanted) => document.querySelector("#hits .title")?.dataset.id === wanted, String(id));
  const open = async (more = "") => {
    await page.goto(address + more);
    await finds(films.length);
  };

  test("shows everything at first, with the facets' counts", async () => {
    await open();
    assert.equal((await ids()).length, 6);
    const counts = await page.$$eval("#genres .ais-RefinementList-item", (items) =>
      items.map((item) => [
        item.querySelector(".ais-RefinementList-labelText").textContent,
        Number(item.querySelector(".ais-RefinementList-count").textContent),
      ]),
    );
    const genres = {};
    for (const genre of films.flatMap((film) => film.genres)) genres[genre] = (genres[genre] ?? 0) + 1;
    assert.deepEqual(Object.fromEntries(counts), genres);
  });

  test("finds while one types, and marks what it found", async () => {
    await open();
    await page.locator("#searchbox input").pressSequentially("blade run");
    await finds(2);
    assert.deepEqual((await ids()).sort(), [1, 24]);
    const marks = async () => (await page.locator("#hits .title").first().locator("mark").allTextContents()).join("");
    // The answer to the last letter finds no others than the one before.
    await page
      .waitForFunction(
        (wanted) =>
          [...(document.querySelector("#hits .title")?.querySelectorAll("mark") ?? [])]
            .map((mark) => mark.textContent)
            .join("") === wanted,
        "BladeRun",
      )
      .catch(async () => assert.equal(await marks(), "BladeRun", complaints.join("\n")));
    assert.equal(await marks(), "BladeRun");
    await page.locator("#searchbox input").fill("alein");
    await firstIs(2);
    await page.locator("#searchbox input").fill("");
    await finds(films.length);
  });

  test("narrows by a facet, and by a second one", async () => {
    await open();
    const facet = (value) => page.locator("#genres .ais-RefinementList-label", { hasText: value });
    await facet("Fantasy").click();
    const fantasy = films.filter((film) => film.genres.includes("Fantasy"));
    await finds(fantasy.length);
    await facet("War").click();
    await finds(fantasy.length + films.filter((film) => film.genres.includes("War")).length);
    await facet("Fantasy").click();
    await facet("War").click();
    await finds(films.length);
  });

  test("narrows by a range of numbers", async () => {
    await open();
    await page.locator("#years .ais-RangeInput-input--min").fill("2010");
    await page.locator("#years .ais-RangeInput-submit").click();
    await finds(films.filter((film) => film.year >= 2010).length);
  });

  test("sorts, and turns the pages of what is sorted", async () => {
    await open();
    const sort = page.locator("#sort select");
    await sort.selectOption({ label: "Oldest first" });
    // The first page holds no two films of one year; the second one ends with some, which may come in either order.
    await shows([10, 11, 9, 2, 19, 1]);
    await page.locator("#pagination .ais-Pagination-item--nextPage a").click();
    await firstIs(20);
    const second = await ids();
    assert.deepEqual(second.slice(0, 2), [20, 12]);
    assert.deepEqual(second.slice(2, 4).sort(), [15, 32]);
    await sort.selectOption({ label: "Best first" });
    await firstIs(5);
  });

  test("goes to the last of all pages", async () => {
    await open("&finite");
    await page.locator("#sort select").selectOption({ label: "Oldest first" });
    await firstIs(10);
    await page.locator("#pagination .ais-Pagination-item--lastPage a").click();
    await shows([24, 25]);
    assert.equal(await page.locator("#pagination .ais-Pagination-item--selected").textContent(), "6");
  });

  test("nothing on the page was blocked or failed", () => {
    assert.deepEqual(complaints, []);
  });
});

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { join } from "node:path";
import { test } from "node:test";
import { chromium } from "playwright-core";
import { WAIT_MS_MAX, within } from "../harness/deadline.ts";
import { startEtcd } from "../harness/etcd_process.ts";

/** Debian's package. */
const executablePath = "/usr/bin/chromium";
const missing = !existsSync(executablePath) && `there is no ${executablePath}`;

/** Chromium itself asks for nothing beyond the page's own requests. */
const CHROMIUM_FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

for (const protocol of ["connect", "grpc-web"] as const) {
  test(`a page in Chromium puts, gets, watches and fails over ${protocol}`, { skip: missing }, async () => {
    const script = bundle("tests/e2e/browser/page.ts");
    const page = await servePage(script);
    const etcd = await startEtcd();
    const browser = await chromium.launch({
      executablePath,
      headless: true,
      args: CHROMIUM_FLAGS,
      timeout: WAIT_MS_MAX,
    });
    try {
      const tab = await browser.newPage();
      await tab.goto(page.url, { timeout: WAIT_MS_MAX });
      const call = `useEtcd(${JSON.stringify(protocol)}, "http://${etcd.endpoint}")`;
      assert.deepEqual(await within("the page's calls", tab.evaluate(call), () => etcd.output), {
        value: "first",
        error: "3 etcdserver: key is not provided",
        seen: ["first", "second"],
        ttl: 60,
        ttlOfNone: 0,
      });
    } finally {
      await within("the browser to close", browser.close());
      await etcd.stop();
      await page.close();
    }
  });
}

/** One script for the browser, from TypeScript with its imports. */
function bundle(entry: string): string {
  const bun = join("node_modules", ".bin", "bun");
  const { status, stdout, stderr } = spawnSync(bun, ["build", entry, "--target=browser"], {
    encoding: "utf8",
    maxBuffer: 64 * 1024 * 1024,
  });
  assert.equal(status, 0, stderr);
  return stdout;
}

/** Serves the page from an origin that is not the server's. */
function servePage(script: string): Promise<{ readonly url: string; close(): Promise<void> }> {
  const server: Server = createServer((request, response) => {
    const isScript = request.url === "/page.js";
    response.setHeader("content-type", isScript ? "text/javascript" : "text/html");
    response.end(isScript ? script : '<!doctype html><script type="module" src="/page.js"></script>');
  });
  return new Promise((resolve) => {
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as { readonly port: number };
      resolve({
        url: `http://127.0.0.1:${port}/`,
        close: () =>
          new Promise((done) => {
            server.closeAllConnections();
            server.close(() => done());
          }),
      });
    });
  });
}

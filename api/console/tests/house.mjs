// What the tests share: the real server in a folder of its own, a real browser, and short words for both.
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const binary = process.env.PERENNIAL_BIN;
if (!binary) throw new Error("PERENNIAL_BIN names no binary");

/** A server; `kill` and `start` again keep its address and its data. */
export async function serve({ config } = {}) {
  const folder = mkdtempSync(join(tmpdir(), "perennial-console-"));
  const house = { url: "", link: "", key: "", process: undefined };
  const machines = [];
  if (config) writeFileSync(join(folder, "perennial.toml"), config);
  house.start = async () => {
    const listen = house.url ? new URL(house.url).host : "127.0.0.1:0";
    const env = { PATH: process.env.PATH, HOME: folder, PERENNIAL_DATA_DIR: join(folder, "data"), PERENNIAL_LOG: "warn", ...(config ? { PERENNIAL_CONFIG: join(folder, "perennial.toml") } : {}) };
    house.process = spawn(binary, ["up", "--listen", listen, "--allow-local"], { env, stdio: ["ignore", "pipe", "pipe"] });
    let said = "";
    house.process.stderr.on("data", (data) => { said += data; });
    house.url = await new Promise((done, failed) => {
      house.process.stdout.once("data", (data) => done(String(data).trim()));
      house.process.once("exit", (code) => failed(new Error(`the server ended with ${code}: ${said}`)));
    });
    // The address comes first; the link a moment later, on the other stream.
    for (let tries = 0; tries < 200 && !/ cloud /.test(said); tries++) await new Promise((done) => setTimeout(done, 10));
    house.link = /console (http\S+)/.exec(said)?.[1] ?? "";
    house.key = readFileSync(join(folder, "data/key"), "utf8").trim();
  };
  house.end = async (signal) => {
    const gone = new Promise((done) => house.process.once("exit", done));
    house.process.removeAllListeners("exit");
    house.process.once("exit", () => {});
    house.process.kill(signal);
    await Promise.race([gone, new Promise((done) => house.process.once("exit", done))]);
  };
  house.kill = () => house.end("SIGKILL");
  house.stop = async () => {
    await Promise.all(machines.map((machine) => machine.stop()));
    await house.end("SIGTERM");
    rmSync(folder, { recursive: true, force: true });
  };
  house.api = async (method, path, body) => {
    const response = await fetch(`${house.url}/v1${path}`, { method, headers: { "x-api-key": house.key, "content-type": "application/json" }, body: body && JSON.stringify(body) });
    const answer = await response.json();
    if (!response.ok) throw new Error(`${method} ${path}: ${JSON.stringify(answer)}`);
    return answer;
  };
  house.agent = async (name, policy) => {
    const tools = [{ type: "agent_toolset_20260401", ...(policy ? { default_config: { enabled: true, permission_policy: { type: policy } } } : {}) }];
    return (await house.api("POST", "/agents", { name, model: "rehearsal-1", tools })).id;
  };
  house.environment = async (name = "here") => (await house.api("POST", "/environments", { name, config: { type: "cloud" } })).id;
  /** A session that is told this, or nothing yet. */
  house.session = async (agent, environment, title, text) => {
    const initial_events = text ? [said(text)] : [];
    return (await house.api("POST", "/sessions", { agent, environment_id: environment, title, initial_events })).id;
  };
  /** A machine that dials in and offers a folder of its own, on these terms. */
  house.machine = async (name, ...terms) => {
    const [home, work] = ["home", "work"].map((one) => join(folder, `${name}-${one}`));
    for (const made of [home, work]) mkdirSync(made);
    const { secret } = await house.api("POST", "/executors/codes", {});
    const process_ = spawn(binary, ["connect", "--dir", work, "--server", house.url, "--code", secret, "--name", name, ...terms], { env: { PATH: process.env.PATH, HOME: home }, stdio: "ignore" });
    const gone = new Promise((done) => process_.once("exit", done));
    const stop = () => { process_.kill("SIGTERM"); return gone; };
    machines.push({ stop });
    for (;;) {
      const { data } = await house.api("GET", "/executors");
      const found = data.find((one) => one.name === name && one.status === "online");
      if (found) return { id: found.id, work, stop };
      await new Promise((done) => setTimeout(done, 25));
    }
  };
  /** So many events in one session, a hundred at a time. */
  house.fill = async (session, events) => {
    const batch = Array.from({ length: 100 }, () => ({ type: "user.interrupt" }));
    for (let sent = 0; sent < events; sent += batch.length) await house.api("POST", `/sessions/${session}/events`, { events: batch });
  };
  house.rest = async (session) => {
    for (;;) {
      const now = await house.api("GET", `/sessions/${session}?include=extensions`);
      if (now.status === "idle" && now.perennial.stop_reason) return now;
      await new Promise((done) => setTimeout(done, 25));
    }
  };
  await house.start();
  return house;
}

export const said = (text) => ({ type: "user.message", content: [{ type: "text", text }] });

/** A browser that notes whatever goes wrong in its pages. */
export async function browse() {
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu"] });
  const wrong = [];
  async function open(options = {}) {
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, reducedMotion: "reduce", permissions: ["clipboard-read", "clipboard-write"], ...options });
    const page = await context.newPage();
    page.setDefaultTimeout(20_000);
    page.on("pageerror", (error) => wrong.push(`error: ${error.message}`));
    page.on("dialog", (dialog) => { wrong.push(`dialog: ${dialog.message()}`); void dialog.dismiss(); });
    page.on("console", (message) => {
      // A server that is away is no fault of the page; a violated policy is one wherever it comes from.
      if (message.type() === "error" && !/net::ERR_|Failed to load resource/.test(message.text())) wrong.push(`console: ${message.text()}`);
    });
    return page;
  }
  async function traced(page, categories, what) {
    await browser.startTracing(page, { categories });
    const done = await what();
    return { done, trace: (await browser.stopTracing()).toString("utf8") };
  }
  return { open, wrong, traced, close: () => browser.close() };
}

/** Bytes of script objects that are really needed. */
export async function heap(page) {
  const debug = await page.context().newCDPSession(page);
  await debug.send("HeapProfiler.collectGarbage");
  const { usedSize } = await debug.send("Runtime.getHeapUsage");
  await debug.detach();
  return usedSize;
}

/**
 * The longest task of a page's own thread while it does something, in milliseconds of processor time: what else a machine does at the
 * moment takes none of it.
 */
export async function longest(browser, page, what) {
  const kept = await browser.traced(page, ["devtools.timeline", "disabled-by-default-devtools.timeline", "toplevel"], what);
  const { traceEvents } = JSON.parse(kept.trace);
  const mains = new Set(traceEvents.filter((one) => one.name === "thread_name" && one.args.name === "CrRendererMain").map((one) => `${one.pid} ${one.tid}`));
  const tasks = traceEvents.filter((one) => /RunTask$/.test(one.name) && one.ph === "X" && mains.has(`${one.pid} ${one.tid}`));
  if (tasks.length === 0) throw new Error("no task was traced");
  return { ...kept.done, tasks: tasks.length, longest: Math.max(...tasks.map((one) => one.tdur ?? one.dur)) / 1000 };
}

/** Scrolls from the end of a list to its beginning within so many frames; what it took the page. */
export const scrolled = (page, selector, frames, rows) => page.evaluate(async ([selector, frames, rows]) => {
  const list = document.querySelector(selector);
  const next = () => new Promise((done) => requestAnimationFrame(done));
  list.scrollTop = list.scrollHeight;
  await next();
  let most = 0;
  const begun = performance.now();
  for (let step = 1; step <= frames; step++) {
    list.scrollTop = (list.scrollHeight * (frames - step)) / frames;
    await next();
    most = Math.max(most, list.querySelectorAll(rows).length);
  }
  const ms = performance.now() - begun;
  return { most, height: list.scrollHeight, fps: (frames * 1000) / ms };
}, [selector, frames, rows]);

export async function enter(page, house, path = "/") {
  await page.goto(`${house.url}/login?to=${encodeURIComponent(path)}`);
  await page.getByLabel("Key").fill(house.key);
  await page.getByRole("button", { name: "Log in" }).click();
  await page.waitForURL((url) => url.pathname !== "/login");
}

/** How views are looked at; in another theme and at another width what these change, and nothing twice. */
export const LOOKS = {
  light: { colorScheme: "light" },
  dark: { colorScheme: "dark", rules: ["color-contrast", "link-in-text-block"] },
  phone: { colorScheme: "light", viewport: { width: 360, height: 740 }, hasTouch: true, rules: ["target-size", "scrollable-region-focusable"] },
};

const EVERYTHING = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];

/** What is seriously wrong for people who do not see, hear or point as most do; of all there is to judge, or of some rules. */
export async function barriers(page, rules) {
  // Evaluated by the debugger: the page's own policy allows no foreign script, and should not have to.
  await page.evaluate(axe);
  const { violations } = await page.evaluate((options) => globalThis.axe.run(document, { runOnly: options, resultTypes: ["violations"], preload: false, iframes: false, ancestry: false }), rules ? { type: "rule", values: rules } : { type: "tag", values: EVERYTHING });
  return violations
    .filter((one) => one.impact === "serious" || one.impact === "critical")
    .flatMap((one) => one.nodes.map((node) => `${one.id}: ${node.target.join(" ")} ${node.failureSummary?.split("\n")[1] ?? ""}`));
}

/** Shows views in every look, writes them down for review, and tells what is wrong: in the looks that are worth it for whom it is. */
export async function everybody(browser, house, views) {
  const shots = process.env.CONSOLE_SHOTS;
  if (shots) mkdirSync(shots, { recursive: true });
  const found = [];
  for (const [look, { rules, ...context }] of Object.entries(LOOKS)) {
    const page = await browser.open(context);
    await enter(page, house);
    for (const [view, { path, ready, looks }] of Object.entries(views)) {
      // As by a link: a page that is loaded anew takes longer than all there is to look at.
      await page.evaluate((path) => history.pushState(null, "", path), path);
      await ready(page);
      await page.waitForTimeout(60);
      if (shots) await page.screenshot({ path: `${shots}/${view}-${look}.png` });
      if (looks.includes(look)) found.push(...(await barriers(page, rules)).map((one) => `${view}, ${look}: ${one}`));
      const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      if (over > 0) found.push(`${view}, ${look}: ${over} pixels too wide`);
    }
    await page.context().close();
  }
  return found;
}

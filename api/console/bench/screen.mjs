// What a person notices, measured in a real browser against the real server. One line of JSON for each number:
//   PERENNIAL_BIN=../../target/release/perennial node bench/screen.mjs [--quick]
import { createServer } from "node:http";
import { browse, enter, heap, longest, said, scrolled, serve } from "../tests/house.mjs";

const quick = process.argv.includes("--quick");
const TOKENS = quick ? 40 : 400;
const LOADS = quick ? 2 : 10;
const EVENTS = quick ? 4_000 : 100_000;

const row = (what, unit, value, goal) => console.log(JSON.stringify({ what, unit, value: Math.round(value * 100) / 100, ...goal }));
const most = (at_most) => ({ at_most });
const least = (at_least) => ({ at_least });
const share = (values, at) => [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * at))];

/** A model that says when it said what: each piece is the time at which it left. */
async function clock() {
  const server = createServer(async (request, answer) => {
    for await (const _ of request);
    if (!request.url.endsWith("/chat/completions")) return answer.writeHead(404).end();
    answer.writeHead(200, { "content-type": "text/event-stream" });
    const say = (delta, finish_reason = null) => answer.write(`data: ${JSON.stringify({ id: "x", object: "chat.completion.chunk", created: 1, model: "clock", choices: [{ index: 0, delta, finish_reason }] })}\n\n`);
    for (let token = 0; token < TOKENS; token++) {
      say({ content: ` ${Date.now()}` });
      await new Promise((done) => setTimeout(done, 20));
    }
    say({}, "stop");
    answer.write(`data: ${JSON.stringify({ id: "x", object: "chat.completion.chunk", created: 1, model: "clock", choices: [], usage: { prompt_tokens: 1, completion_tokens: TOKENS, total_tokens: TOKENS + 1 } })}\n\n`);
    answer.end("data: [DONE]\n\n");
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return { port: server.address().port, close: () => server.close() };
}

const model = await clock();
const house = await serve({ config: `[providers.clock]\nwire = "chat"\nbase_url = "http://127.0.0.1:${model.port}/v1"\n` });
const browser = await browse();
const place = await house.environment();
try {
  const ticking = (await house.api("POST", "/agents", { name: "clock", model: "clock/clock" })).id;
  await tokens(await house.session(ticking, place, "Streams"));
  const long = await house.session(await house.agent("helper"), place, "Long");
  await house.fill(long, 10_000);
  await house.api("POST", `/sessions/${long}/events`, { events: [said("/say the very end")] });
  await house.rest(long);
  await end(long);
  await scrolling(long);
  await night(await house.session(await house.agent("night"), place, "Night"));
  if (browser.wrong.length > 0) throw new Error(browser.wrong.join("\n"));
} finally {
  await browser.close();
  await house.stop();
  model.close();
}

/** From the moment the model sends a token until a frame shows it. */
async function tokens(session) {
  const page = await browser.open();
  await enter(page, house, `/sessions/${session}`);
  await page.getByText("Nothing was said yet").waitFor();
  await page.evaluate(() => {
    window.late = [];
    let seen = 0;
    const look = () => {
      const text = document.querySelector("[role=log] .caret")?.textContent ?? "";
      const now = Date.now();
      const times = text.trim().split(/\s+/).filter((word) => /^\d{13}$/.test(word));
      for (const time of times.slice(seen)) window.late.push(now - Number(time));
      seen = Math.max(seen, times.length);
      requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
  });
  await house.api("POST", `/sessions/${session}/events`, { events: [said("go")] });
  await page.getByText("Turn finished").waitFor({ timeout: 60_000 });
  const late = await page.evaluate(() => window.late);
  if (late.length < TOKENS * 0.8) throw new Error(`${late.length} of ${TOKENS} tokens were seen`);
  row("token on screen after it was sent, p50", "ms", share(late, 0.5));
  row("token on screen after it was sent, p99", "ms", share(late, 0.99), most(100));
  await page.context().close();
}

/** From the address to the end of a long session on the screen, with the pages in the browser's cache as they are for who comes back. */
async function end(session) {
  const page = await browser.open();
  await enter(page, house);
  const shown = [];
  for (let load = 0; load <= LOADS; load++) {
    await page.goto("about:blank");
    const begun = performance.now();
    await page.goto(`${house.url}/sessions/${session}`, { waitUntil: "commit" });
    await page.getByRole("log").getByText("rehearsal-1: the very end").waitFor();
    shown.push(performance.now() - begun);
  }
  // The first one filled the cache.
  row("end of 10,000 events on screen, p50", "ms", share(shown.slice(1), 0.5), most(500));
  row("end of 10,000 events on screen, slowest", "ms", Math.max(...shown.slice(1)));
  await page.context().close();
}

async function scrolling(session) {
  const page = await browser.open();
  await enter(page, house, `/sessions/${session}`);
  await page.getByRole("log").getByText("rehearsal-1: the very end").waitFor();
  await page.waitForTimeout(800);
  const passes = [];
  for (let pass = 0; pass < 3; pass++) passes.push(await scrolled(page, "[role=log]", 240, "article"));
  const traced = await longest(browser, page, () => scrolled(page, "[role=log]", 240, "article"));
  row("frames a second while 10,000 events scroll", "fps", share(passes.map((one) => one.fps), 0.5), least(50));
  row("longest task while 10,000 events scroll", "ms", traced.longest, most(200));
  await page.context().close();
}

/** What a tab needs that watches a session for long, once it holds as much as it ever will. */
async function night(session) {
  const page = await browser.open();
  await enter(page, house, `/sessions/${session}`);
  await page.getByText("Nothing was said yet").waitFor();
  const reach = async (events) => {
    await house.fill(session, events);
    const { perennial } = await house.api("GET", `/sessions/${session}?include=extensions`);
    await page.waitForFunction((head) => Number(document.querySelector("[role=log] article:last-of-type")?.getAttribute("aria-label")?.match(/event (\d+)/)?.[1] ?? 0) >= head - 50, perennial.head, { timeout: 120_000 }).catch(async () => {
      throw new Error(`the screen does not reach event ${perennial.head}`);
    });
    return heap(page);
  };
  // It keeps the end of a log, so the first events fill it and say nothing.
  const full = await reach(EVENTS);
  const later = await reach(EVENTS);
  row("heap of a tab after 100,000 events", "MiB", full / (1 << 20));
  row("heap of a tab after 100,000 more", "MiB", later / (1 << 20));
  row("heap after 100,000 more events to before them", "x", later / full, most(quick ? 3 : 1.25));
  await page.context().close();
}

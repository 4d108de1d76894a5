// Plays an editor with the protocol's own client: what to do comes on stdin, what happened goes to stdout, one JSON value a line.
//
// in:  {id, request, params}   {notify, params}   {answer, result | error}
// out: {id, result | error}    {update}    {asked, method, params}    {withdrawn}    {noise}    {closed}
//
// usage: node editor.mjs PROGRAM ARGUMENT...

import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { PassThrough, Readable, Writable } from "node:stream";
import * as acp from "@agentclientprotocol/sdk/unstable";

const [program, ...rest] = process.argv.slice(2);
const agent = spawn(program, rest, { stdio: ["pipe", "pipe", "inherit"] });
const tell = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

// The client overlooks what is no message; nothing else may be on the agent's stdout.
const incoming = new PassThrough();
createInterface({ input: agent.stdout })
  .on("line", (line) => {
    try {
      if (JSON.parse(line).jsonrpc !== "2.0") tell({ noise: line });
    } catch {
      tell({ noise: line });
    }
    incoming.write(`${line}\n`);
  })
  .on("close", () => incoming.end());

const questions = new Map();
let asked = 0;
const ask = (method) => ({ params, signal }) =>
  new Promise((resolve, reject) => {
    const number = ++asked;
    questions.set(number, { resolve, reject });
    tell({ asked: number, method, params });
    signal.addEventListener("abort", () => {
      if (!questions.delete(number)) return;
      tell({ withdrawn: number });
      reject(acp.RequestError.requestCancelled());
    });
  });

const client = acp.client({ name: "perennial-editor" });
client.onNotification(acp.methods.client.session.update, ({ params }) => tell({ update: params }));
const { session, fs, terminal } = acp.methods.client;
for (const method of [session.requestPermission, ...Object.values(fs), ...Object.values(terminal)]) {
  client.onRequest(method, ask(method));
}
const connection = client.connect(acp.ndJsonStream(Writable.toWeb(agent.stdin), Readable.toWeb(incoming)));
connection.closed.then(() => tell({ closed: true }));

createInterface({ input: process.stdin })
  .on("line", async (line) => {
    const { id, request, notify, answer, params, result, error } = JSON.parse(line);
    if (answer !== undefined) {
      const question = questions.get(answer);
      questions.delete(answer);
      if (error) question?.reject(new acp.RequestError(error.code, error.message));
      else question?.resolve(result);
    } else if (notify !== undefined) {
      await connection.agent.notify(notify, params);
    } else {
      try {
        tell({ id, result: await connection.agent.request(request, params) });
      } catch (error) {
        tell({ id, error: { code: error.code, message: error.message } });
      }
    }
  })
  .on("close", () => agent.stdin.end());
agent.on("exit", () => process.exit(0));

// Ports of a machine: what listens there, and how to reach it from here.
import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import type { Block } from "../api/model";
import type { ExecutorCall, ExecutorPreview } from "../api/schema";
import { post } from "../lib/http";
import { text } from "../transcript/fold";
import { Button, Card, Copy, Field, Problem } from "../ui/basics";
import { COMMAND, listening, type Port } from "./ports";

/** A name as a shell takes it. */
const word = (name: string) => (/^[\w@%+=:,./-]+$/.test(name) ? name : `'${name.replaceAll("'", "'\\''")}'`);
const forward = (machine: string, port: number | string) => `perennial forward ${word(machine)} ${port}`;

async function look(executor: string): Promise<Port[]> {
  const call = await post<ExecutorCall>(`/executors/${executor}/calls`, { tool: "bash", input: { command: COMMAND } });
  const said = text(call.content as Block[]);
  if (call.is_error) throw new Error(`The machine could not tell: ${said}`);
  return listening(said);
}

/** A tab of its own, opened while the click still counts, and led to the site once the server has said where that is. */
async function show(executor: string, port: number): Promise<void> {
  const tab = window.open("about:blank");
  try {
    const { url } = await post<ExecutorPreview>(`/executors/${executor}/previews`, { port });
    if (!tab) throw new Error("The browser did not let this page open a tab.");
    tab.opener = null;
    tab.location.replace(url);
  } catch (error) {
    tab?.close();
    throw error;
  }
}

export function Ports({ executor, machine, online }: { executor: string; machine: string; online: boolean }) {
  const [port, setPort] = useState("3000");
  const shown = useMutation({ mutationFn: (port: number) => show(executor, port) });
  const found = useMutation({ mutationFn: () => look(executor) });
  const wanted = Number(port);
  const valid = Number.isInteger(wanted) && wanted > 0 && wanted < 65_536;
  return (
    <div className="h-full overflow-y-auto" tabIndex={-1}>
      <div className="max-w-3xl space-y-8 px-4 py-5 sm:px-6">
        <section aria-labelledby="reach">
          <h2 id="reach" className="font-semibold">Reach a port</h2>
          <p className="mt-1 text-sm text-soft">A program on {machine} that listens on its loopback address can be used from where you are, through this server: as <span className="font-mono text-xs">127.0.0.1:{valid ? port : "PORT"}</span>, for as long as this command runs there.</p>
          <div className="mt-3 grid items-start gap-3 sm:grid-cols-[120px_minmax(0,1fr)]">
            <Field label="Port" error={valid ? undefined : "1 to 65535"}>{(props) => <input {...props} className="field tnum" inputMode="numeric" value={port} onChange={(event) => setPort(event.target.value.trim())} />}</Field>
            <div>
              <p className="mb-1 text-sm font-medium" id="command">Run this where you are</p>
              <div className="flex min-h-[34px] items-center gap-1 rounded-[7px] border border-line bg-sunken pl-3"><code aria-labelledby="command" className="min-w-0 flex-1 py-1.5 font-mono text-[12.5px] leading-5 wrap-anywhere">{valid ? forward(machine, port) : ""}</code>{valid && <Copy text={forward(machine, port)} />}</div>
            </div>
          </div>
          <p className="mt-1.5 text-xs text-faint">Taken already there? <span className="font-mono">{valid ? port : "PORT"}:0</span> takes a free one. Ctrl C ends it.</p>
          <p className="mt-5 text-sm text-soft">Or look at it here: a web page that is served there opens as a site of its own, which sees nothing of this console.</p>
          <div className="mt-2"><Button icon="link" busy={shown.isPending} disabled={!valid || !online} onClick={() => shown.mutate(wanted)}>{valid ? `Open port ${wanted} in a tab` : "Open in a tab"}</Button></div>
          {shown.error && <Problem error={shown.error} />}
        </section>
        <section aria-labelledby="listens">
          <div className="flex items-center gap-3"><h2 id="listens" className="flex-1 font-semibold">What listens there</h2><Button icon="search" busy={found.isPending} disabled={!online} onClick={() => found.mutate()}>{found.data ? "Look again" : "Look"}</Button></div>
          {found.error ? <Problem error={found.error} retry={() => found.mutate()} /> : !found.data ? (
            <p className="mt-1 text-sm text-soft">{online ? "Asks the machine by one command, on its owner’s terms." : "The machine is offline: it can be asked when it is back."}</p>
          ) : found.data.length === 0 ? (
            <p className="mt-1 text-sm text-soft">Nothing listens on its loopback address now.</p>
          ) : (
            <Card className="mt-3">
              <ul aria-label="Ports" className="divide-y divide-line">
                {found.data.map((one) => (
                  <li key={one.port} className="flex items-center gap-3 py-1.5 pr-2 pl-4">
                    <span className="tnum w-14 shrink-0 font-medium">{one.port}</span>
                    <span className="min-w-0 flex-1 truncate text-sm text-soft">{one.program}</span>
                    <Button small disabled={shown.isPending} onClick={() => shown.mutate(one.port)} aria-label={`Open port ${one.port} in a tab`}>Open</Button>
                    <Copy text={forward(machine, one.port)} label="Copy command" name={`Copy command for port ${one.port}`} />
                  </li>
                ))}
              </ul>
            </Card>
          )}
        </section>
      </div>
    </div>
  );
}

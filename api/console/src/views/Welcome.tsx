// The first minute: an agent that needs no key, a place for its tools, and a turn that is finished before one is done reading.
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { type ReactNode, useState } from "react";
import type { Session } from "../api/model";
import type { Agent, Environment } from "../api/schema";
import { useSession } from "../lib/feed";
import { post } from "../lib/http";
import { agents, environments } from "../lib/queries";
import { state } from "../lib/words";
import { attempt } from "../session/actions";
import { useSessionLog } from "../session/log";
import { Transcript } from "../session/Transcript";
import { TOOLS } from "../shell/preset";
import { Button, Card, Page, Status } from "../ui/basics";
import { Icon } from "../ui/Icon";

const SCRIPT = `/say I am the rehearsal: a scripted model that needs no key. My tools are real.
/tool bash {"command": "uname -sr; echo 'hello from a real shell' > hello.txt; cat hello.txt"}
/then
/tokens 24 40
/then
/say That was a **finished turn**, and every step of it is in the log.`;

export function Welcome() {
  const client = useQueryClient();
  const known = useQuery(agents());
  const places = useQuery(environments());
  const [busy, setBusy] = useState("");
  const [session, setSession] = useState<string>();
  const agent = known.data?.find((one) => one.model.id.startsWith("rehearsal") && !one.harness && one.tools.length > 0 && !JSON.stringify(one.tools).includes("always_ask"));
  const place = places.data?.find((one) => (one.config as { type: string }).type === "cloud");
  const live = useSession(session ?? "");
  const done = live && state(live).key === "idle" && (live.perennial?.turn ?? 0) > 0;

  async function prepare() {
    setBusy("prepare");
    if (!agent) await attempt(post<Agent>("/agents", { name: "rehearsal", model: "rehearsal-1", tools: TOOLS, description: "Scripted; needs no key." }));
    if (!place) await attempt(post<Environment>("/environments", { name: "default", config: { type: "cloud" } }));
    await Promise.all([known.refetch(), places.refetch()]);
    setBusy("");
  }
  async function run() {
    setBusy("run");
    const made = await attempt(post<Session>("/sessions", { agent: agent?.id, environment_id: place?.id, title: "First steps", initial_events: [{ type: "user.message", content: [{ type: "text", text: SCRIPT }] }] }));
    if (made) setSession(made.id);
    void client.invalidateQueries({ queryKey: ["usage"] });
    setBusy("");
  }
  const ready = Boolean(agent && place);
  return (
    <Page title="First steps">
      <div className="max-w-3xl space-y-4">
        <Step n={1} done={ready} title="Somebody to ask, and somewhere to work">
          <p>An agent on the rehearsal model (it needs no key), and an environment for its tools.</p>
          {!ready && <Button look="primary" className="mt-3" busy={busy === "prepare"} disabled={known.isPending || places.isPending} onClick={prepare}>Make both</Button>}
        </Step>
        <Step n={2} done={Boolean(done)} title="A turn">
          <p>The script below says something, runs a real command, and streams an answer.</p>
          <pre tabIndex={0} aria-label="Script" className="mt-2 overflow-x-auto rounded-lg bg-sunken p-3 font-mono text-xs leading-5 whitespace-pre-wrap wrap-anywhere">{SCRIPT}</pre>
          {!session && <Button look="primary" icon="send" className="mt-3" disabled={!ready} busy={busy === "run"} onClick={run}>Run it</Button>}
          {session && (
            <div className="mt-3">
              <div className="mb-1" role="status">{live && <Status tone={state(live).tone} label={done ? "Finished" : state(live).label} />}{live && state(live).key === "waiting" && <p className="text-sm">Nothing contains commands on this machine, so the call asks first: allow it below.</p>}</div>
              <Live session={session} />
            </div>
          )}
        </Step>
        <Step n={3} done={Boolean(done)} title="Now it is yours">
          {done && session ? (
            <div className="flex flex-wrap items-center gap-x-5 gap-y-1.5">
              <Link to="/sessions/$session" params={{ session }} className="text-accent underline underline-offset-2">Open the session</Link>
              <Link to="/agents" className="text-accent underline underline-offset-2">Make an agent with your model</Link>
              <Link to="/executors" className="text-accent underline underline-offset-2">Connect another machine</Link>
            </div>
          ) : <p>Open it, write to it, fork it at any event, or kill the server in the middle of it: it goes on.</p>}
        </Step>
      </div>
    </Page>
  );
}

function Live({ session }: { session: string }) {
  const [view] = useSessionLog(session);
  return <div className="flex h-96 flex-col overflow-hidden rounded-lg border border-line bg-canvas"><Transcript session={session} items={view.items} /></div>;
}

function Step({ n, done, title, children }: { n: number; done: boolean; title: string; children: ReactNode }) {
  return (
    <Card className="flex gap-4 p-4">
      <span className={`mt-0.5 flex size-7 shrink-0 items-center justify-center rounded-full text-sm font-semibold ${done ? "bg-accent text-on-accent" : "bg-accent-soft text-accent"}`}>{done ? <><Icon name="check" /><span className="sr-only">Done</span></> : n}</span>
      <div className="min-w-0 flex-1 text-soft"><h2 className="font-medium text-text">{title}</h2>{children}</div>
    </Card>
  );
}

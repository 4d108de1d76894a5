// Workers: who drives sessions, how much they have to do, and whether they go on.
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import type { Scaling, Worker } from "../api/schema";
import { ago, full, plural, span } from "../lib/format";
import { patch } from "../lib/http";
import { scaling, workers } from "../lib/queries";
import { useNow } from "../lib/store";
import { attempt } from "../session/actions";
import { Meter } from "../session/Inspector";
import { Card, Chip, Empty, IconButton, Lines, Page, Problem, Status } from "../ui/basics";
import { Confirm, Menu } from "../ui/overlay";

const STATES = {
  active: { tone: "good", label: "Active" },
  cordoned: { tone: "ask", label: "Cordoned" },
  draining: { tone: "busy", label: "Draining" },
  drained: { tone: "quiet", label: "Drained" },
} as const;

const stateOf = (worker: Worker) => STATES[worker.state as keyof typeof STATES] ?? { tone: "quiet" as const, label: worker.state };

export function Workers() {
  const client = useQueryClient();
  const { data, error, refetch } = useQuery(workers);
  const { data: load } = useQuery(scaling);
  const [draining, setDraining] = useState<Worker>();
  const steer = async (worker: Worker, state: string) => {
    await attempt(patch<Worker>(`/workers/${worker.id}`, { state }));
    await client.invalidateQueries({ queryKey: ["workers"] });
  };
  const others = data?.some((one) => one.id !== draining?.id && one.state === "active");
  return (
    <Page title="Workers">
      {!data ? (error ? <Problem error={error} retry={() => void refetch()} /> : <Lines />) : (
        <>
          {load && <Load load={load} />}
          {data.length === 0 ? (
            <Empty icon="workers" title="No worker is here"><p>Sessions wait until one comes: <code className="font-mono text-sm">perennial worker</code> on any host that reaches the database.</p></Empty>
          ) : (
            <ul className="grid gap-4 md:grid-cols-2" aria-label="Workers">
              {data.map((one) => <li key={one.id}><Desk worker={one} steer={(state) => (state === "draining" ? setDraining(one) : void steer(one, state))} /></li>)}
            </ul>
          )}
        </>
      )}
      <Confirm open={draining !== undefined} onClose={() => setDraining(undefined)} title={`Drain ${draining?.name}?`} action="Drain" run={() => { if (draining) void steer(draining, "draining"); setDraining(undefined); }}>
        It gives back the sessions it drives and claims no more. {others ? "The other workers go on with them." : "No other worker is active: they wait until one is."}
      </Confirm>
    </Page>
  );
}

/** What the pool is scaled by, in words. */
function Load({ load }: { load: Scaling }) {
  const facts: [string, string][] = [
    ["At work", `${load.held_sessions} of ${plural(load.slots, "slot")}`],
    ["Waiting", plural(load.ready_sessions, "session")],
    ["Longest wait", load.ready_sessions > 0 ? span(load.oldest_ready_ms) : "none"],
    ["Workers wanted", load.wanted_workers == null ? "at least one" : `${load.wanted_workers}, ${load.workers} active`],
  ];
  return (
    <dl className="mb-6 grid grid-cols-2 gap-x-6 gap-y-3 sm:flex sm:flex-wrap sm:gap-x-12">
      {facts.map(([what, value]) => <div key={what}><dt className="text-xs text-faint">{what}</dt><dd className="tnum text-lg font-medium">{value}</dd></div>)}
    </dl>
  );
}

function Desk({ worker, steer }: { worker: Worker; steer: (state: string) => void }) {
  const now = useNow();
  const { tone, label } = stateOf(worker);
  return (
    <Card className="flex h-full flex-col p-4">
      <div className="flex items-start gap-3">
        <div className="min-w-0 flex-1">
          <h2 className="truncate font-medium">{worker.name}</h2>
          <p className="text-xs text-faint">{worker.version} · here for <span title={full(worker.joined_at)}>{ago(worker.joined_at, now)}</span></p>
        </div>
        <Status tone={tone} label={label} />
        <Menu
          trigger={<IconButton icon="more" label={`Actions for ${worker.name}`} className="-mt-1.5 -mr-2" />}
          actions={[
            worker.state !== "active" && { label: "Put back to work", icon: "retry" as const, run: () => steer("active") },
            worker.state === "active" && { label: "Cordon: claim no more", icon: "stop" as const, run: () => steer("cordoned") },
            (worker.state === "active" || worker.state === "cordoned") && { label: "Drain: give back its sessions", icon: "logout" as const, run: () => steer("draining") },
          ]}
        />
      </div>
      <div className="mt-3"><Meter used={worker.sessions} limit={worker.slots} label={`${worker.sessions} of ${plural(worker.slots, "slot")}`} /></div>
      <div className="mt-3 flex flex-wrap gap-1.5">{worker.harnesses.map((one) => <Chip key={one}>{one}</Chip>)}</div>
    </Card>
  );
}

// Executors: machines that lend sessions their hands.
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useEffect, useState } from "react";
import type { Executor, ExecutorCode } from "../api/schema";
import { ago, bytes, full, plural } from "../lib/format";
import { patch, post, remove } from "../lib/http";
import { environments, executors } from "../lib/queries";
import { useNow } from "../lib/store";
import { useFeed } from "../lib/feed";
import { attempt } from "../session/actions";
import { Button, Card, Chip, Copy, Empty, Field, IconButton, Lines, Page, Problem, Status } from "../ui/basics";
import { Icon } from "../ui/Icon";
import { Confirm, Dialog, Menu } from "../ui/overlay";

interface CardFacts {
  os?: string;
  arch?: string;
  cpus?: number;
  memory_bytes?: number;
  hostname?: string;
  contained?: boolean;
  git_remote?: string;
  cwd?: string;
  tools?: string[];
  programs?: { name: string; version?: string }[];
  [field: string]: unknown;
}

export function Executors() {
  const client = useQueryClient();
  const { data, error, refetch } = useQuery(executors);
  const { data: places } = useQuery(environments());
  const { sessions } = useFeed();
  const [connecting, setConnecting] = useState(false);
  const [renaming, setRenaming] = useState<Executor>();
  const [removing, setRemoving] = useState<Executor>();
  const again = () => client.invalidateQueries({ queryKey: ["executors"] });
  const users = (id: string) => {
    const here = new Set(places?.filter((one) => (one.config as { executor_id?: string }).executor_id === id).map((one) => one.id));
    return sessions.filter((one) => here.has(one.environment_id)).length;
  };
  return (
    <Page title="Executors" aside={<Button look="primary" icon="plus" onClick={() => setConnecting(true)}>Connect a machine</Button>}>
      {!data ? (error ? <Problem error={error} retry={() => void refetch()} /> : <Lines />) : data.length === 0 ? (
        <Empty icon="executors" title="No machine has dialled in"><p>Tools run on this server until you connect another machine: a laptop, a build box, anything that reaches this address. It needs the binary and one command.</p><p className="mt-4"><Button look="primary" icon="plus" onClick={() => setConnecting(true)}>Connect a machine</Button></p></Empty>
      ) : (
        <ul className="grid gap-4 sm:grid-cols-2" aria-label="Executors">
          {data.map((one) => <li key={one.id}><Machine executor={one} users={users(one.id)} onRename={() => setRenaming(one)} onRemove={() => setRemoving(one)} /></li>)}
        </ul>
      )}
      <Dialog open={connecting} onClose={() => setConnecting(false)} title="Connect a machine">{connecting && <Connect known={data ?? []} onClose={() => setConnecting(false)} />}</Dialog>
      <Dialog open={renaming !== undefined} onClose={() => setRenaming(undefined)} title="Rename">{renaming && <Rename executor={renaming} onDone={() => { setRenaming(undefined); void again(); }} />}</Dialog>
      <Confirm open={removing !== undefined} onClose={() => setRemoving(undefined)} title={`Remove ${removing?.name}?`} action="Remove" run={() => void attempt(remove(`/executors/${removing?.id}`)).then(() => { setRemoving(undefined); return again(); })}>
        Its token is taken back within seconds. Sessions whose tools run there wait for it until they get another place.
      </Confirm>
    </Page>
  );
}

const GO = "inline-flex h-7 items-center gap-1.5 rounded-[7px] px-2 text-xs font-medium text-soft hover:bg-hover hover:text-text";

function Machine({ executor, users, onRename, onRemove }: { executor: Executor; users: number; onRename: () => void; onRemove: () => void }) {
  const now = useNow();
  const card = (executor.card ?? {}) as CardFacts;
  const online = executor.status === "online";
  const size = card.memory_bytes;
  const programs = card.programs ?? [];
  return (
    <Card className="flex h-full flex-col p-4">
      <div className="flex items-start gap-3">
        <div className="min-w-0 flex-1"><h2 className="truncate font-medium"><Link to="/executors/$executor" params={{ executor: executor.id }} preload={false} className="hover:underline">{executor.name}</Link></h2><p className="text-xs text-faint">{executor.kind === "sandbox" ? "Sandbox of a session" : "Machine"}</p></div>
        <Status tone={online ? "good" : "quiet"} label={online ? "Online" : "Offline"} />
        <Menu trigger={<IconButton icon="more" label={`Actions for ${executor.name}`} className="-mt-1.5 -mr-2" />} actions={[executor.kind === "device" && { label: "Rename", icon: "edit" as const, run: onRename }, { label: "Remove", icon: "trash" as const, danger: true, run: onRemove }]} />
      </div>
      <div className="mt-3 flex flex-wrap gap-1.5">
        {card.os && <Chip>{[card.os, card.arch].filter(Boolean).join(" ")}</Chip>}
        {card.cpus && <Chip>{plural(card.cpus, "core")}</Chip>}
        {size && <Chip>{bytes(size)}</Chip>}
      </div>
      <dl className="mt-2.5 grid grid-cols-[64px_minmax(0,1fr)] gap-x-2 gap-y-0.5 text-xs">
        {card.tools && card.tools.length > 0 && <><dt className="text-faint">Offers</dt><dd className="text-soft">{card.tools.join(", ")}</dd></>}
        {programs.length > 0 && <><dt className="text-faint">Has</dt><dd className="truncate text-soft" title={programs.map((one) => [one.name, one.version].filter(Boolean).join(" ")).join("\n")}>{programs.map((one) => one.name).join(", ")}</dd></>}
      </dl>
      {card.contained === false && <p className="mt-2 text-xs text-ask">Not contained there: sessions ask before they change anything</p>}
      {card.cwd && <p className="mt-2 truncate font-mono text-xs text-soft" title={card.cwd}>{card.cwd}</p>}
      {card.git_remote && <p className="truncate font-mono text-xs text-faint" title={card.git_remote}>{card.git_remote}</p>}
      <div className="mt-auto flex items-center gap-1 pt-3">
        <p className="tnum min-w-0 flex-1 text-xs text-faint">{plural(users, "session")} · {online ? "connected" : executor.last_seen_at ? <>last seen <span title={full(executor.last_seen_at)}>{ago(executor.last_seen_at, now)}</span> ago</> : "never seen"}</p>
        <Link to="/executors/$executor" params={{ executor: executor.id }} preload={false} aria-label={`Terminal on ${executor.name}`} className={GO}><Icon name="terminal" size={14} /> Terminal</Link>
        <Link to="/executors/$executor" params={{ executor: executor.id }} search={{ panel: "files" }} preload={false} aria-label={`Files of ${executor.name}`} className={GO}><Icon name="file" size={14} /> Files</Link>
        <Link to="/executors/$executor" params={{ executor: executor.id }} search={{ panel: "ports" }} preload={false} aria-label={`Ports of ${executor.name}`} className={GO}><Icon name="link" size={14} /> Ports</Link>
      </div>
    </Card>
  );
}

function Connect({ known, onClose }: { known: Executor[]; onClose: () => void }) {
  const now = useNow();
  const code = useMutation({ mutationFn: () => post<ExecutorCode>("/executors/codes") });
  const [before] = useState(() => new Set(known.map((one) => one.id)));
  const { mutate } = code;
  useEffect(() => mutate(), [mutate]);
  const arrived = known.find((one) => !before.has(one.id) && one.kind === "device");
  const command = code.data?.secret ? `perennial connect --server ${location.origin} --code ${code.data.secret}` : "";
  const left = code.data ? Math.max(0, Math.floor((Date.parse(code.data.expires_at) - now) / 1000)) : 0;
  if (arrived) {
    return <Empty icon="check" title={`${arrived.name} is here`}><p>Make an environment that names it, and sessions have their tools there.</p><p className="mt-4"><Button look="primary" onClick={onClose}>Done</Button></p></Empty>;
  }
  return (
    <div className="space-y-4">
      <p className="text-sm text-soft">Run this on the other machine, in the folder it should offer. It dials here by itself, so it may be behind a router or a firewall; it offers that folder and no other.</p>
      {code.error ? <Problem error={code.error} retry={() => mutate()} /> : (
        <>
          <div className="rounded-lg border border-line bg-sunken">
            <pre tabIndex={0} aria-label="Command" className="min-h-11 overflow-x-auto px-3 py-2.5 font-mono text-[12.5px] leading-5 whitespace-pre-wrap wrap-anywhere">{command || " "}</pre>
            <div className="flex items-center justify-between border-t border-line px-2 py-1"><span className="tnum px-1 text-xs text-faint">{left > 0 ? `Good once, for ${Math.ceil(left / 60)} min` : "The code has expired"}</span>{left > 0 ? <Copy text={command} /> : <Button small onClick={() => mutate()}>New code</Button>}</div>
          </div>
          <p role="status" className="flex items-center gap-2 text-sm text-faint"><span className="pulse size-2 rounded-full bg-busy" /> Waiting for it to dial in…</p>
          <details className="text-sm text-soft"><summary>What may it do there?</summary><p className="mt-1">Add <code className="font-mono text-xs">--read-only</code>, <code className="font-mono text-xs">--ask</code> or <code className="font-mono text-xs">--tools read,bash</code>: what is offered is decided on the machine itself.</p></details>
        </>
      )}
    </div>
  );
}

function Rename({ executor, onDone }: { executor: Executor; onDone: () => void }) {
  const [name, setName] = useState(executor.name);
  const rename = useMutation({ mutationFn: () => patch(`/executors/${executor.id}`, { name }), onSuccess: onDone });
  return (
    <form className="space-y-4" onSubmit={(event) => { event.preventDefault(); rename.mutate(); }}>
      <Field label="Name" error={rename.error?.message}>{(props) => <input {...props} className="field" required autoFocus value={name} onChange={(event) => setName(event.target.value)} />}</Field>
      <div className="flex justify-end"><Button look="primary" type="submit" busy={rename.isPending}>Rename</Button></div>
    </form>
  );
}

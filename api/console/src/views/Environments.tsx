// Environments: where sessions have their tools.
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import type { Environment } from "../api/schema";
import { useFeed } from "../lib/feed";
import { bytes, day, plural } from "../lib/format";
import { post, remove } from "../lib/http";
import { environments, executors } from "../lib/queries";
import { attempt } from "../session/actions";
import { Button, Card, Chip, Empty, Field, IconButton, Lines, Page, Problem } from "../ui/basics";
import { Confirm, Dialog, Menu } from "../ui/overlay";

interface Config {
  type: string;
  dir?: string;
  executor_id?: string;
  image?: string;
  memory?: number;
  cpu?: number;
}

const KINDS: Record<string, string> = { cloud: "Made by this server", local: "A folder", self_hosted: "Somebody's worker queue" };

export function Environments() {
  const client = useQueryClient();
  const { data, error, refetch } = useQuery(environments());
  const { data: machines } = useQuery(executors);
  const { sessions } = useFeed();
  const [editing, setEditing] = useState<Environment | "new">();
  const [deleting, setDeleting] = useState<Environment>();
  const again = () => client.invalidateQueries({ queryKey: ["environments"] });
  return (
    <Page title="Environments" aside={<Button look="primary" icon="plus" onClick={() => setEditing("new")}>New environment</Button>}>
      {!data ? (error ? <Problem error={error} retry={() => void refetch()} /> : <Lines />) : data.length === 0 ? (
        <Empty icon="environments" title="No environments yet"><p>An environment says where the tools of a session run: a sandbox of this server, a folder, or another machine.</p><p className="mt-4"><Button look="primary" icon="plus" onClick={() => setEditing("new")}>New environment</Button></p></Empty>
      ) : (
        <Card>
          <ul className="divide-y divide-line" aria-label="Environments">
            {data.map((one) => {
              const config = one.config as Config;
              const machine = machines?.find((other) => other.id === config.executor_id);
              return (
                <li key={one.id} className="flex items-center gap-4 px-4 py-3">
                  <div className="min-w-0 flex-1">
                    <div className="truncate font-medium">{one.name}</div>
                    <div className="flex flex-wrap items-center gap-x-2 gap-y-1 text-sm text-soft">
                      <span>{KINDS[config.type] ?? config.type}</span>
                      {config.executor_id && <Chip tone="accent">{machine?.name ?? config.executor_id}</Chip>}
                      {config.dir && <span className="truncate font-mono text-xs">{config.dir}</span>}
                      {config.image && <Chip>{config.image}</Chip>}
                      {config.memory && <Chip>{bytes(config.memory)}</Chip>}
                      {config.cpu && <Chip>{plural(config.cpu, "core")}</Chip>}
                    </div>
                  </div>
                  <span className="tnum hidden text-right text-xs text-faint sm:block">{plural(sessions.filter((session) => session.environment_id === one.id).length, "session")}<br />{day(one.updated_at)}</span>
                  <Menu trigger={<IconButton icon="more" label={`Actions for ${one.name}`} />} actions={[
                    { label: "Edit", icon: "edit", run: () => setEditing(one) },
                    { label: "Archive", icon: "archive", run: () => void attempt(post(`/environments/${one.id}/archive`)).then(again) },
                    { label: "Delete", icon: "trash", danger: true, run: () => setDeleting(one) },
                  ]} />
                </li>
              );
            })}
          </ul>
        </Card>
      )}
      <Dialog open={editing !== undefined} onClose={() => setEditing(undefined)} title={editing === "new" || !editing ? "New environment" : `Edit ${editing.name}`}>
        {editing && <EnvironmentForm environment={editing === "new" ? undefined : editing} onDone={() => { setEditing(undefined); void again(); }} onCancel={() => setEditing(undefined)} />}
      </Dialog>
      <Confirm open={deleting !== undefined} onClose={() => setDeleting(undefined)} title={`Delete ${deleting?.name}?`} action="Delete" run={() => void attempt(remove(`/environments/${deleting?.id}`)).then(() => { setDeleting(undefined); return again(); })}>
        Sessions that were made with it keep what they have.
      </Confirm>
    </Page>
  );
}

function EnvironmentForm({ environment, onDone, onCancel }: { environment: Environment | undefined; onDone: () => void; onCancel: () => void }) {
  const { data: machines } = useQuery(executors);
  const config = (environment?.config ?? { type: "cloud" }) as Config;
  const [name, setName] = useState(environment?.name ?? "");
  const [kind, setKind] = useState(config.type);
  const [machine, setMachine] = useState(config.executor_id ?? "");
  const [dir, setDir] = useState(config.dir ?? "");
  const [image, setImage] = useState(config.image ?? "");
  const [memory, setMemory] = useState(config.memory ? String(config.memory) : "");
  const [cpu, setCpu] = useState(config.cpu ? String(config.cpu) : "");
  const save = useMutation({
    mutationFn: () => {
      const next: Record<string, unknown> = { ...(environment?.config as object), type: kind };
      const put = (key: string, value: unknown) => { if (value) next[key] = value; else delete next[key]; };
      put("executor_id", kind === "local" && machine);
      put("dir", kind === "local" && dir.trim());
      put("image", kind === "cloud" && image.trim());
      put("memory", kind === "cloud" && memory.trim());
      put("cpu", kind === "cloud" && Number(cpu));
      const body = { name, ...(environment && JSON.stringify(next) === JSON.stringify(environment.config) ? {} : { config: next }) };
      return post<Environment>(environment ? `/environments/${environment.id}` : "/environments", body);
    },
    onSuccess: onDone,
  });
  return (
    <form className="space-y-4" onSubmit={(event: FormEvent) => { event.preventDefault(); save.mutate(); }}>
      <Field label="Name">{(props) => <input {...props} className="field" required autoFocus value={name} onChange={(event) => setName(event.target.value)} />}</Field>
      <Field label="Tools run in">
        {(props) => (
          <select {...props} className="field" value={kind} onChange={(event) => setKind(event.target.value)} disabled={Boolean(environment)}>
            <option value="cloud">A place that this server makes for each session</option>
            <option value="local">A folder, here or on a machine that dialled in</option>
            {kind === "self_hosted" && <option value="self_hosted">A worker queue</option>}
          </select>
        )}
      </Field>
      {kind === "local" && (
        <div className="grid gap-4 sm:grid-cols-2">
          <Field label="Machine">{(props) => <select {...props} className="field" value={machine} onChange={(event) => setMachine(event.target.value)}><option value="">This server</option>{machines?.filter((one) => one.kind === "device").map((one) => <option key={one.id} value={one.id}>{one.name}</option>)}</select>}</Field>
          <Field label="Folder" hint={machine ? "Empty: the one it offers" : "Empty: one for each session"}>{(props) => <input {...props} className="field font-mono" placeholder="/home/me/project" value={dir} onChange={(event) => setDir(event.target.value)} />}</Field>
        </div>
      )}
      {kind === "cloud" && (
        <div className="grid gap-4 sm:grid-cols-3">
          <Field label="Image" hint="With a container engine">{(props) => <input {...props} className="field" placeholder="default" value={image} onChange={(event) => setImage(event.target.value)} />}</Field>
          <Field label="Memory">{(props) => <input {...props} className="field" placeholder="2g" value={memory} onChange={(event) => setMemory(event.target.value)} />}</Field>
          <Field label="Processors">{(props) => <input {...props} className="field" type="number" min="0.1" step="0.1" value={cpu} onChange={(event) => setCpu(event.target.value)} />}</Field>
        </div>
      )}
      {save.error && <Problem error={save.error} />}
      <div className="flex justify-end gap-2"><Button onClick={onCancel}>Cancel</Button><Button look="primary" type="submit" busy={save.isPending}>{environment ? "Save" : "Create"}</Button></div>
    </form>
  );
}

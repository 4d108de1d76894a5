// Beside the conversation: where its tools run, and what its folder had before the first call.
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import type { Session } from "../api/model";
import { environments, executors } from "../lib/queries";
import { Copy } from "../ui/basics";
import { Icon } from "../ui/Icon";
import { Attached } from "./Attached";

/** A repository or a file that its folder has before the first call. */
interface Resource {
  id: string;
  url?: string;
  file_id?: string;
  checkout?: { name?: string; sha?: string };
  mount_path: string;
}

const KINDS: Record<string, string> = { cloud: "A sandbox of this server", local: "A folder of a machine", self_hosted: "A worker of one's own" };

export function Resources({ session }: { session: Session }) {
  const { data: places } = useQuery(environments(true));
  const { data: machines } = useQuery({ ...executors, refetchInterval: 15_000 });
  const place = places?.find((one) => one.id === session.environment_id);
  const config = place?.config as { type?: string; executor_id?: string; dir?: string } | undefined;
  const machine = machines?.find((one) => one.id === config?.executor_id);
  const resources = session.resources as Resource[];
  return (
    <div className="min-h-0 flex-1 space-y-5 overflow-y-auto p-4 text-sm" tabIndex={0}>
      <section>
        <h2 className="mb-1 font-semibold">Runs in</h2>
        <p>{place?.name ?? session.environment_id}</p>
        <p className="text-xs text-faint">{KINDS[config?.type ?? ""] ?? "An environment"}{config?.dir && <> · <span className="font-mono">{config.dir}</span></>}</p>
        {machine && <p className="mt-1.5 flex items-center gap-1.5"><Icon name="executors" className="text-faint" /> <Link to="/executors/$executor" params={{ executor: machine.id }} className="text-accent hover:underline">{machine.name}</Link> <span className="text-xs text-faint">{machine.status}</span></p>}
      </section>
      <section>
        <h2 className="mb-1 font-semibold">Machines beside it</h2>
        <Attached session={session} place={place} />
      </section>
      <section>
        <h2 className="mb-1 font-semibold">There from the start</h2>
        {resources.length === 0 ? <p className="text-faint">Nothing: no repository and no file was given.</p> : (
          <ul aria-label="Resources" className="space-y-2">
            {resources.map((one) => (
              <li key={one.id} className="flex gap-2">
                <Icon name={one.url ? "fork" : "file"} className="mt-0.5 text-faint" />
                <span className="min-w-0 flex-1"><span className="block wrap-anywhere">{one.url ?? one.file_id}{one.checkout && <span className="text-faint"> at {one.checkout.name ?? one.checkout.sha}</span>}</span><span className="block font-mono text-xs text-faint wrap-anywhere">{one.mount_path}</span></span>
                <Copy text={one.mount_path} label="" name={`Copy the path ${one.mount_path}`} />
              </li>
            ))}
          </ul>
        )}
      </section>
    </div>
  );
}

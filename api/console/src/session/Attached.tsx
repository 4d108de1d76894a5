// Machines a session has beside its environment: attached while it rests, and taken off again.
import { useQuery } from "@tanstack/react-query";
import type { Session } from "../api/model";
import type { Environment } from "../api/schema";
import { executors } from "../lib/queries";
import { Button, Chip, IconButton } from "../ui/basics";
import { Icon } from "../ui/Icon";
import { Menu } from "../ui/overlay";
import { attachMachine, attempt, detachMachine } from "./actions";

/** Those that could be attached. */
export function useFree(session: Session, place: Environment | undefined) {
  const { data } = useQuery({ ...executors, refetchInterval: 15_000 });
  const config = place?.config as { type?: string; executor_id?: string } | undefined;
  // Tools of a self-hosted environment are run by its own worker, and by no machine.
  if (!config || config.type === "self_hosted") return [];
  const taken = new Set([config.executor_id, ...(session.agent.executors ?? []).map((one) => one.executor_id)]);
  return data?.filter((one) => one.kind === "device" && one.status === "online" && !taken.has(one.id)) ?? [];
}

export function Attached({ session, place }: { session: Session; place: Environment | undefined }) {
  const attached = session.agent.executors ?? [];
  const free = useFree(session, place);
  const moves = session.status !== "idle" || Boolean(session.archived_at);
  if (attached.length === 0 && free.length === 0) return <span className="text-faint">None</span>;
  return (
    <span className="flex flex-wrap items-center gap-1">
      {attached.map((one) => (
        <Chip key={one.executor_id}>
          <Icon name="executors" size={12} /> {one.name}
          <IconButton icon="close" label={`Detach ${one.name}`} size={10} className="size-5!" disabled={moves} onClick={() => void attempt(detachMachine(session.id, one.executor_id))} />
        </Chip>
      ))}
      {free.length > 0 && (
        <Menu trigger={<Button small look="quiet" className={`-my-1 ${attached.length === 0 ? "-ml-2.5" : ""}`} disabled={moves}>Attach</Button>} actions={free.map((one) => ({ label: one.name, icon: "executors" as const, run: () => void attempt(attachMachine(session.id, one.id)) }))} />
      )}
    </span>
  );
}

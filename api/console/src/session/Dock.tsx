// A terminal below the conversation, on a machine the session works on.
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { lazy, Suspense, useMemo, useState } from "react";
import type { Session } from "../api/model";
import { environments, executors } from "../lib/queries";
import type { Item } from "../transcript/fold";
import { Button, Empty, IconButton, Lines, Problem } from "../ui/basics";
import { attachMachine, attempt } from "./actions";
import { useFree } from "./Attached";
import { machines } from "./machines";

const Pane = lazy(() => import("../terminal/Pane"));

interface Props {
  session: Session;
  items: Item[];
  /** The machine that was chosen; whichever was used last otherwise. */
  machine: string;
  choose: (machine: string) => void;
  onClose: () => void;
}

export default function Dock({ session, items, machine, choose, onClose }: Props) {
  const places = useQuery(environments(true));
  const known = useQuery(executors);
  const [terminal, setTerminal] = useState("main");
  const place = places.data?.find((one) => one.id === session.environment_id);
  const free = useFree(session, place);
  // What is used next is no reason to change what somebody types into.
  const [chosen, setChosen] = useState(machine);
  const found = useMemo(() => machines(session, place, known.data ?? [], items), [session, place, known.data, items]);
  const one = found.find((one) => one.id === chosen) ?? found[0];
  if (one && one.id !== chosen) setChosen(one.id);
  const error = places.error ?? known.error;
  if (one) {
    return (
      <Suspense fallback={<Lines n={3} />}>
        <Pane executor={one.id} machine={one.name} terminal={terminal} choose={setTerminal} onClose={onClose}
          aside={found.length > 1 && (
            <select aria-label="Machine" className="field h-7! min-h-7! w-auto! max-w-40 py-0! text-xs!" value={one.id} onChange={(event) => { setChosen(event.target.value); choose(event.target.value); }}>
              {found.map((other) => <option key={other.id} value={other.id}>{other.name}</option>)}
            </select>
          )}
        />
      </Suspense>
    );
  }
  return (
    <section aria-label="Terminal" className="relative h-full overflow-y-auto bg-surface">
      <IconButton icon="close" label="Close the terminal" size={14} className="absolute! top-1 right-1 size-7!" onClick={onClose} />
      {!places.data || !known.data ? (error ? <Problem error={error} /> : <Lines n={3} />) : (
        <Empty icon="terminal" title="No machine to type on">
          <p>The tools of this session run where no terminal leads. It can have a machine that dialled in beside that: its tools may run there too, and so may you.</p>
          {free.length > 0 && session.status === "idle" && !session.archived_at ? (
            <p className="mt-4 flex flex-wrap justify-center gap-2">{free.slice(0, 6).map((one) => <Button key={one.id} icon="executors" onClick={() => void attempt(attachMachine(session.id, one.id))}>Attach {one.name}</Button>)}</p>
          ) : <p className="mt-3"><Link to="/executors" className="text-accent underline underline-offset-2">Executors</Link></p>}
        </Empty>
      )}
    </section>
  );
}

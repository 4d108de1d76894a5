// Two sessions side by side, usually one and its fork.
import { Link, useParams } from "@tanstack/react-router";
import { state, title, harness } from "../lib/words";
import { Lines, Problem, Status } from "../ui/basics";
import { Composer } from "./Composer";
import { useSessionLog } from "./log";
import { blocked, useOne } from "./SessionView";
import { Transcript } from "./Transcript";

export function Compare() {
  const { left, right } = useParams({ from: "/shell/compare/$left/$right" });
  return (
    <div className="grid h-full min-h-0 grid-rows-2 divide-line max-md:divide-y md:grid-cols-2 md:grid-rows-1 md:divide-x">
      <Side key={left} id={left} />
      <Side key={right} id={right} />
    </div>
  );
}

function Side({ id }: { id: string }) {
  const { session, error } = useOne(id);
  const [view] = useSessionLog(id);
  if (error) return <Problem error={error} />;
  if (!session) return <Lines />;
  const is = state(session);
  return (
    <section aria-label={title(session)} className="flex min-h-0 min-w-0 flex-col">
      <header className="flex h-14 shrink-0 items-center gap-3 border-b border-line px-4">
        <div className="min-w-0 flex-1">
          <h1 className="truncate leading-5 font-semibold"><Link to="/sessions/$session" params={{ session: id }} className="hover:underline">{title(session)}</Link></h1>
          <p className="truncate text-xs text-faint">{session.agent.model.id} · {harness(session)}</p>
        </div>
        <Status tone={is.tone} label={is.label} />
      </header>
      {view.loading ? <Lines /> : <Transcript session={id} items={view.items} />}
      <Composer session={session} blocked={blocked(session)} />
    </section>
  );
}

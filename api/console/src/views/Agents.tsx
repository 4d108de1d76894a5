// Agents: who can be asked to do something.
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { useState } from "react";
import type { Agent } from "../api/schema";
import { useFeed } from "../lib/feed";
import { day } from "../lib/format";
import { post } from "../lib/http";
import { agents } from "../lib/queries";
import { Button, Card, Chip, Empty, Lines, Page, Problem } from "../ui/basics";
import { Dialog } from "../ui/overlay";
import { AgentForm } from "./AgentForm";

export function Agents() {
  const { archived } = useSearch({ from: "/shell/agents" });
  const navigate = useNavigate({ from: "/agents" });
  const client = useQueryClient();
  const { data, error, refetch } = useQuery(agents(archived === "yes"));
  const { sessions } = useFeed();
  const [fresh, setFresh] = useState(false);
  const create = useMutation({
    mutationFn: (body: Record<string, unknown>) => post<Agent>("/agents", body),
    onSuccess: (made) => {
      void client.invalidateQueries({ queryKey: ["agents"] });
      setFresh(false);
      void navigate({ to: "/agents/$agent", params: { agent: made.id } });
    },
  });
  return (
    <Page title="Agents" aside={<><label className="flex items-center gap-2 text-sm text-soft"><input type="checkbox" className="size-4 accent-accent" checked={archived === "yes"} onChange={(event) => void navigate({ search: event.target.checked ? { archived: "yes" } : {} })} /> Archived too</label><Button look="primary" icon="plus" onClick={() => setFresh(true)}>New agent</Button></>}>
      {!data ? (error ? <Problem error={error} retry={() => void refetch()} /> : <Lines />) : data.length === 0 ? (
        <Empty icon="agents" title="No agents yet"><p>An agent is a model, a harness that drives it, a prompt and its tools, in versions.</p><p className="mt-4"><Button look="primary" icon="plus" onClick={() => setFresh(true)}>New agent</Button></p></Empty>
      ) : (
        <Card>
          <ul className="divide-y divide-line" aria-label="Agents">
            {data.map((one) => (
              <li key={one.id}>
                <Link to="/agents/$agent" params={{ agent: one.id }} className="flex items-center gap-4 px-4 py-3 hover:bg-hover focus-visible:-outline-offset-2">
                  <span className="min-w-0 flex-1">
                    <span className="flex items-center gap-2"><span className="truncate font-medium">{one.name}</span>{one.archived_at && <Chip>Archived</Chip>}</span>
                    <span className="block truncate text-sm text-soft">{one.description || one.system || "No prompt of its own"}</span>
                  </span>
                  <span className="hidden text-right text-sm sm:block"><span className="block">{one.model.id}</span><span className="block text-xs text-faint">{one.harness ?? "native"} · version {one.version}</span></span>
                  <span className="tnum hidden w-24 text-right text-xs text-faint md:block">{sessions.filter((session) => session.agent.id === one.id).length} sessions<br />{day(one.updated_at)}</span>
                </Link>
              </li>
            ))}
          </ul>
        </Card>
      )}
      <Dialog open={fresh} onClose={() => setFresh(false)} title="New agent">{fresh && <AgentForm save={(body) => create.mutate(body)} busy={create.isPending} error={create.error} onCancel={() => setFresh(false)} />}</Dialog>
    </Page>
  );
}

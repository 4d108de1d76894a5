// A new session: who, where, and what to do.
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { type FormEvent, useState } from "react";
import type { Session } from "../api/model";
import type { Agent, Environment } from "../api/schema";
import { post } from "../lib/http";
import { agents, environments, login } from "../lib/queries";
import { TOOLS, takePreset } from "./preset";
import { Button, Field, Problem } from "../ui/basics";
import { Dialog } from "../ui/overlay";

export default function NewSession({ onClose }: { onClose: () => void }) {
  return <Dialog open onClose={onClose} title="New session"><Form onClose={onClose} /></Dialog>;
}

function Form({ onClose }: { onClose: () => void }) {
  const navigate = useNavigate();
  const client = useQueryClient();
  const known = useQuery(agents());
  const places = useQuery(environments());
  const me = useQuery(login);
  const [agent, setAgent] = useState(() => takePreset());
  const [place, setPlace] = useState("");
  const [title, setTitle] = useState("");
  const [text, setText] = useState("");
  const chosenAgent = agent || known.data?.[0]?.id || "new";
  const chosenPlace = place || places.data?.[0]?.id || "new";
  const create = useMutation({
    mutationFn: async () => {
      const model = me.data?.default_model || "rehearsal-1";
      const who = chosenAgent === "new" ? (await post<Agent>("/agents", { name: "default", model, tools: TOOLS })).id : chosenAgent;
      const where = chosenPlace === "new" ? (await post<Environment>("/environments", { name: "default", config: { type: "cloud" } })).id : chosenPlace;
      const body: Record<string, unknown> = { agent: who, environment_id: where };
      if (title.trim()) body.title = title.trim();
      if (text.trim()) body.initial_events = [{ type: "user.message", content: [{ type: "text", text }] }];
      return post<Session>("/sessions", body);
    },
    onSuccess: (session) => {
      void client.invalidateQueries();
      onClose();
      void navigate({ to: "/sessions/$session", params: { session: session.id } });
    },
  });
  function submit(event: FormEvent) {
    event.preventDefault();
    create.mutate();
  }
  if (known.isPending || places.isPending) return <div className="h-72" />;
  return (
    <form onSubmit={submit} className="space-y-4">
      <Field label="What should it do?" hint="It starts at once. Leave it empty to begin later.">
        {(props) => (
          <textarea {...props} className="field min-h-28" rows={5} value={text} onChange={(event) => setText(event.target.value)} autoFocus
            onKeyDown={(event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) create.mutate(); }} />
        )}
      </Field>
      <div className="grid gap-4 sm:grid-cols-2">
        <Field label="Agent">
          {(props) => (
            <select {...props} className="field" value={chosenAgent} onChange={(event) => setAgent(event.target.value)}>
              {known.data?.map((one) => <option key={one.id} value={one.id}>{one.name} · {one.model.id}</option>)}
              {!known.data?.length && <option value="new">default (made now)</option>}
            </select>
          )}
        </Field>
        <Field label="Runs in">
          {(props) => (
            <select {...props} className="field" value={chosenPlace} onChange={(event) => setPlace(event.target.value)}>
              {places.data?.map((one) => <option key={one.id} value={one.id}>{one.name}</option>)}
              {!places.data?.length && <option value="new">default (made now)</option>}
            </select>
          )}
        </Field>
      </div>
      <Field label="Title">{(props) => <input {...props} className="field" value={title} onChange={(event) => setTitle(event.target.value)} placeholder="Optional" />}</Field>
      {create.error && <Problem error={create.error} />}
      <div className="flex justify-end gap-2">
        <Button onClick={onClose}>Cancel</Button>
        <Button look="primary" type="submit" busy={create.isPending} keys="Ctrl ↵">{text.trim() ? "Start" : "Create"}</Button>
      </div>
    </form>
  );
}

// Fork a session at an event, and switch what drives it.
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { type FormEvent, useState } from "react";
import type { Session } from "../api/model";
import { post } from "../lib/http";
import { harness, title } from "../lib/words";
import { Button, Field, Problem } from "../ui/basics";
import { tell } from "../ui/messages";
import { Dialog } from "../ui/overlay";

export const HARNESSES = ["native", "claude-code", "codex"];

export function HarnessField({ value, onChange }: { value: string; onChange: (value: string) => void }) {
  return (
    <Field label="Harness" hint="Or acp:NAME, an agent of the configuration">
      {(props) => (
        <>
          <input {...props} className="field" list="harnesses" value={value} onChange={(event) => onChange(event.target.value)} />
          <datalist id="harnesses">{HARNESSES.map((one) => <option key={one} value={one} />)}</datalist>
        </>
      )}
    </Field>
  );
}

export function Fork({ session, at, onClose }: { session: Session; at: { id: string; seq: number } | undefined; onClose: () => void }) {
  return <Dialog open={at !== undefined} onClose={onClose} title={at ? `Fork at event ${at.seq}` : "Fork"}>{at && <ForkForm session={session} at={at} onClose={onClose} />}</Dialog>;
}

function ForkForm({ session, at, onClose }: { session: Session; at: { id: string; seq: number }; onClose: () => void }) {
  const navigate = useNavigate();
  const [name, setName] = useState(`${title(session)} (fork)`);
  const [model, setModel] = useState(session.agent.model.id);
  const [brain, setBrain] = useState(harness(session));
  const fork = useMutation({
    mutationFn: (side: boolean) => {
      const change: Record<string, unknown> = {};
      if (model !== session.agent.model.id) change.model = model;
      if (brain !== harness(session)) change.harness = brain;
      const body = { at_event: at.id, title: name, ...(Object.keys(change).length > 0 ? { agent: change } : {}) };
      return post<Session>(`/sessions/${session.id}/fork`, body).then((made) => ({ made, side }));
    },
    onSuccess: ({ made, side }) => {
      onClose();
      if (side) void navigate({ to: "/compare/$left/$right", params: { left: session.id, right: made.id } });
      else void navigate({ to: "/sessions/$session", params: { session: made.id } });
    },
  });
  function submit(event: FormEvent) {
    event.preventDefault();
    fork.mutate(false);
  }
  return (
    <form onSubmit={submit} className="space-y-4">
      <p className="text-sm text-soft">The same past up to this event, another future. The original goes on untouched; the fork gets a copy of its files as they are now.</p>
      <Field label="Title">{(props) => <input {...props} className="field" value={name} onChange={(event) => setName(event.target.value)} />}</Field>
      <div className="grid gap-4 sm:grid-cols-2">
        <Field label="Model">{(props) => <input {...props} className="field" value={model} onChange={(event) => setModel(event.target.value)} />}</Field>
        <HarnessField value={brain} onChange={setBrain} />
      </div>
      {fork.error && <Problem error={fork.error} />}
      <div className="flex flex-wrap justify-end gap-2">
        <Button onClick={onClose}>Cancel</Button>
        <Button busy={fork.isPending} onClick={() => fork.mutate(true)}>Fork and compare</Button>
        <Button look="primary" type="submit" icon="fork" busy={fork.isPending}>Fork</Button>
      </div>
    </form>
  );
}

export function Switch({ session, open, onClose }: { session: Session; open: boolean; onClose: () => void }) {
  return <Dialog open={open} onClose={onClose} title="Switch model or harness">{open && <SwitchForm session={session} onClose={onClose} />}</Dialog>;
}

function SwitchForm({ session, onClose }: { session: Session; onClose: () => void }) {
  const client = useQueryClient();
  const [name, setName] = useState(session.title ?? "");
  const [model, setModel] = useState(session.agent.model.id);
  const [brain, setBrain] = useState(harness(session));
  const change = useMutation({
    mutationFn: () => {
      const body: Record<string, unknown> = {};
      if (name !== (session.title ?? "")) body.title = name;
      if (model !== session.agent.model.id || brain !== harness(session)) body.agent = { model, harness: brain };
      return post<Session>(`/sessions/${session.id}`, body);
    },
    onSuccess: () => {
      void client.invalidateQueries({ queryKey: ["session", session.id] });
      tell("Changed: its next turn runs by it");
      onClose();
    },
  });
  return (
    <form className="space-y-4" onSubmit={(event) => { event.preventDefault(); change.mutate(); }}>
      <p className="text-sm text-soft">The log belongs to no harness: the next turn is driven by whatever is chosen here.</p>
      <Field label="Title">{(props) => <input {...props} className="field" value={name} onChange={(event) => setName(event.target.value)} />}</Field>
      <div className="grid gap-4 sm:grid-cols-2">
        <Field label="Model">{(props) => <input {...props} className="field" value={model} onChange={(event) => setModel(event.target.value)} />}</Field>
        <HarnessField value={brain} onChange={setBrain} />
      </div>
      {change.error && <Problem error={change.error} />}
      <div className="flex justify-end gap-2"><Button onClick={onClose}>Cancel</Button><Button look="primary" type="submit" busy={change.isPending}>Switch</Button></div>
    </form>
  );
}

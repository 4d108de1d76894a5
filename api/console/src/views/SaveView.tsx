// The name of a view of the session list.
import { useState } from "react";
import { Button, Field } from "../ui/basics";
import { Dialog } from "../ui/overlay";

export default function SaveView({ onClose, onSave }: { onClose: () => void; onSave: (name: string) => void }) {
  const [name, setName] = useState("");
  return (
    <Dialog open onClose={onClose} title="Save this view">
      <form className="space-y-4" onSubmit={(event) => { event.preventDefault(); if (name.trim()) onSave(name.trim()); }}>
        <Field label="Name" hint="It is kept on this browser; its address can be sent to others">{(props) => <input {...props} className="field" required autoFocus maxLength={40} value={name} onChange={(event) => setName(event.target.value)} />}</Field>
        <div className="flex justify-end"><Button look="primary" type="submit">Save</Button></div>
      </form>
    </Dialog>
  );
}

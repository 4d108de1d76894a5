// Storing a file on a machine: chosen or dropped, under a path of its own.
import { useMutation } from "@tanstack/react-query";
import { type DragEvent, useRef, useState } from "react";
import { bytes } from "../lib/format";
import { ask } from "../lib/http";
import { Button, Field, Problem } from "../ui/basics";
import { Icon } from "../ui/Icon";
import { tell } from "../ui/messages";

export function Store({ address, folder, onDone }: { address: (path: string) => string; folder: string; onDone: (path: string) => void }) {
  const picker = useRef<HTMLInputElement>(null);
  const [chosen, setChosen] = useState<File>();
  const [path, setPath] = useState(folder);
  const store = useMutation({
    mutationFn: async (file: File) => {
      const response = await ask("PUT", address(path.trim()), file);
      return (await response.json()) as { path: string; bytes: number };
    },
    onSuccess: (stored) => {
      tell(`Stored ${stored.path}`);
      onDone(stored.path);
    },
  });
  function choose(file: File | undefined) {
    if (!file) return;
    setChosen(file);
    setPath((before) => (before === "" || before.endsWith("/") ? before + file.name : before));
  }
  const drop = (event: DragEvent) => {
    event.preventDefault();
    choose(event.dataTransfer.files[0]);
  };
  return (
    <form className="space-y-4" onSubmit={(event) => { event.preventDefault(); if (chosen && path.trim()) store.mutate(chosen); }}>
      <input ref={picker} type="file" hidden aria-label="File to store" onChange={(event) => { choose(event.target.files?.[0]); event.target.value = ""; }} />
      <button type="button" onClick={() => picker.current?.click()} onDragOver={(event) => event.preventDefault()} onDrop={drop} className="flex w-full flex-col items-center gap-1 rounded-lg border border-dashed border-strong px-4 py-6 text-sm text-soft hover:bg-hover">
        <Icon name="upload" size={20} className="text-accent" />
        {chosen ? <span className="font-medium wrap-anywhere text-text">{chosen.name}</span> : <span className="font-medium text-text">Choose a file, or drop one here</span>}
        <span className="text-xs text-faint">{chosen ? bytes(chosen.size) : "It takes the place of one that is there."}</span>
      </button>
      <Field label="Its path there" hint="Folders on the way are made">{(props) => <input {...props} className="field font-mono" value={path} onChange={(event) => setPath(event.target.value)} />}</Field>
      {store.error && <Problem error={store.error} />}
      <div className="flex justify-end"><Button look="primary" type="submit" busy={store.isPending} disabled={!chosen || !path.trim() || path.endsWith("/")}>Store</Button></div>
    </form>
  );
}

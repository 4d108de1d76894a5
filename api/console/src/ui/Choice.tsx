// One of a few, side by side.
export function Choice({ label, value, options, onChange }: { label: string; value: string; options: [string, string][]; onChange: (value: string) => void }) {
  return (
    <div role="group" aria-label={label} className="flex rounded-lg border border-line bg-sunken p-0.5">
      {options.map(([key, name]) => <button key={key} type="button" aria-pressed={value === key} onClick={() => onChange(key)} className={`rounded-md px-2.5 py-0.5 text-sm ${value === key ? "bg-surface font-medium text-text shadow-sm" : "text-soft hover:text-text"}`}>{name}</button>)}
    </div>
  );
}

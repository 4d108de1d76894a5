// Which keys do what, at this moment.
import { useShortcutMap } from "../lib/keys";
import { useChoice } from "../lib/store";
import { Kbd } from "../ui/basics";
import { Dialog } from "../ui/overlay";

const written = (keys: string) => keys.split(/[ +]/).map((key) => ({ mod: "Ctrl", enter: "↵", escape: "Esc", shift: "⇧" })[key] ?? key);

export default function KeyMap({ onClose }: { onClose: () => void }) {
  const map = useShortcutMap();
  const [single, setSingle] = useChoice("shortcuts", "on");
  return (
    <Dialog open onClose={onClose} title="Keyboard" wide>
      <div className="grid gap-x-10 gap-y-6 sm:grid-cols-2">
        {map.map((set) => (
          <section key={set.group}>
            <h2 className="mb-1 text-sm font-medium text-faint">{set.group}</h2>
            <dl>
              {set.shortcuts.map((one) => (
                <div key={one.keys} className="flex items-center justify-between gap-4 border-b border-line py-1.5 text-sm">
                  <dt>{one.does}</dt>
                  <dd className="flex shrink-0 gap-1">{written(one.keys).map((key, at) => <Kbd key={at}>{key}</Kbd>)}</dd>
                </div>
              ))}
            </dl>
          </section>
        ))}
      </div>
      <label className="mt-6 flex items-center gap-2 text-sm"><input type="checkbox" className="size-4 accent-accent" checked={single === "on"} onChange={(event) => setSingle(event.target.checked ? "on" : "off")} /> Single keys are shortcuts (turn off for speech input and screen readers that need them)</label>
    </Dialog>
  );
}

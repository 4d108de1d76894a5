// What lies above a view: dialogs and menus.
import { Dialog as Base } from "@base-ui/react/dialog";
import { Menu as BaseMenu } from "@base-ui/react/menu";
import type { ReactElement, ReactNode } from "react";
import { Button, IconButton } from "./basics";
import { Icon, type IconName } from "./Icon";

export function Dialog({ open, onClose, title, children, foot, wide }: { open: boolean; onClose: () => void; title: string; children: ReactNode; foot?: ReactNode; wide?: boolean }) {
  return (
    <Base.Root open={open} onOpenChange={(next) => !next && onClose()}>
      <Base.Portal>
        <Base.Backdrop className="veil fixed inset-0 z-40 bg-black/35" />
        <Base.Popup className={`pop fixed inset-x-3 top-[6vh] z-50 mx-auto flex max-h-[88vh] flex-col rounded-xl border border-line bg-raised shadow-pop ${wide ? "max-w-4xl" : "max-w-lg"}`}>
          <div className="flex items-center gap-3 px-5 pt-4 pb-2">
            <Base.Title className="min-w-0 flex-1 truncate text-lg font-semibold">{title}</Base.Title>
            <Base.Close render={<IconButton icon="close" label="Close" keys="Esc" className="-mr-2" />} />
          </div>
          <div className="min-h-0 flex-1 overflow-y-auto px-5 pb-5">{children}</div>
          {foot && <div className="flex flex-wrap items-center justify-end gap-2 border-t border-line px-5 py-3">{foot}</div>}
        </Base.Popup>
      </Base.Portal>
    </Base.Root>
  );
}

export interface Action {
  label: string;
  icon?: IconName;
  run: () => void;
  danger?: boolean;
  keys?: string;
}

export function Menu({ trigger, actions }: { trigger: ReactElement; actions: (Action | undefined | false)[] }) {
  return (
    <BaseMenu.Root>
      <BaseMenu.Trigger render={trigger as ReactElement<Record<string, unknown>>} />
      <BaseMenu.Portal>
        <BaseMenu.Positioner sideOffset={6} align="end" className="z-50">
          <BaseMenu.Popup className="pop min-w-48 rounded-lg border border-line bg-raised p-1 shadow-pop outline-none">
            {actions.map((action) => action && (
              <BaseMenu.Item key={action.label} onClick={action.run} className={`flex cursor-default items-center gap-2.5 rounded-md px-2.5 py-1.5 text-sm outline-none select-none data-highlighted:bg-hover ${action.danger ? "text-bad" : ""}`}>
                {action.icon && <Icon name={action.icon} />}
                <span className="flex-1">{action.label}</span>
                {action.keys && <span className="font-mono text-xs text-faint">{action.keys}</span>}
              </BaseMenu.Item>
            ))}
          </BaseMenu.Popup>
        </BaseMenu.Positioner>
      </BaseMenu.Portal>
    </BaseMenu.Root>
  );
}

export function Confirm({ open, onClose, title, children, action, run, busy }: { open: boolean; onClose: () => void; title: string; children: ReactNode; action: string; run: () => void; busy?: boolean }) {
  return (
    <Dialog open={open} onClose={onClose} title={title} foot={<><Button onClick={onClose}>Cancel</Button><Button look="danger" busy={busy ?? false} onClick={run}>{action}</Button></>}>
      <div className="text-soft">{children}</div>
    </Dialog>
  );
}

// A question before something that can't be taken back, or a form: the browser's own dialog, so that focus and Escape are its.
import { useEffect, useRef, type FormEvent, type ReactNode } from "react";

type Props = {
  title: string;
  onClose: () => void;
  onSubmit?: () => void;
  children: ReactNode;
  /** Buttons; one of them says that it was thought better of. */
  acts: ReactNode;
};

export function Dialog({ title, onClose, onSubmit, children, acts }: Props) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    dialog.current?.showModal();
  }, []);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    onSubmit?.();
  };
  return (
    <dialog ref={dialog} className="ask" aria-label={title} onClose={onClose}>
      <form onSubmit={submit}>
        <h2>{title}</h2>
        {children}
        <div className="row ends">{acts}</div>
      </form>
    </dialog>
  );
}

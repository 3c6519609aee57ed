// Batches: the list of them, a form for a new one, and the open one.
import { useEffect, useState } from "react";
import { ago, number } from "../parts/words";
import { at, go } from "../router";
import { call, told } from "../server";
import { ListPanel } from "../shell/ListPanel";
import { BatchView } from "./BatchView";
import { NewBatch } from "./NewBatch";
import "../chat/chat.css";
import "./tasks.css";

interface Record {
  id: string;
  state: string;
  created_at: number;
  total: number;
  live: number;
  failed: number;
  metadata?: { title?: unknown };
}

// Older ones than these a person finds by other means.
const PAGE = 100;

const newest = () =>
  call<{ batches: Record[] }>(`v1/tasks/batch?order=desc&limit=${PAGE}`).then(({ batches }) => batches);

const titleOf = ({ metadata, total }: Record) =>
  typeof metadata?.title === "string" ? metadata.title : `${number(total)} tasks`;

export default function TasksPage({ batch }: { batch: string | undefined }) {
  const [list, setList] = useState<Record[]>();
  const [fault, setFault] = useState("");
  useEffect(() => {
    let left = false;
    newest().then(
      (found) => left || setList(found),
      (error: unknown) => left || setFault(told(error).message),
    );
    return () => {
      left = true;
    };
  }, [batch]);
  const open = list?.find(({ id }) => id === batch);
  const now = Date.now();
  return (
    <div className="page">
      <ListPanel
        title="Batches"
        action={
          <button type="button" className="small" onClick={() => go("tasks")}>
            New
          </button>
        }
      >
        {list?.length ? (
          <nav aria-label="Batches">
            <ul>
              {list.map((one) => (
                <li key={one.id}>
                  <a className="item" href={at("tasks", one.id)} aria-current={one.id === batch ? "page" : undefined}>
                    <span>{titleOf(one)}</span>
                    <span className="when number">
                      {number(one.total)} · {ago(now - one.created_at)}
                    </span>
                  </a>
                </li>
              ))}
            </ul>
          </nav>
        ) : (
          <p className="note">{fault || (list ? "Your batches appear here. From a terminal: tidewire batch" : "")}</p>
        )}
      </ListPanel>
      {batch ? <BatchView key={batch} id={batch} title={open ? titleOf(open) : "Batch"} /> : <NewBatch />}
    </div>
  );
}

export default function TasksPage({ batch }: { batch: string | undefined }) { return <div className="page">{batch}</div>; }

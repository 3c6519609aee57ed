// A block of code, with its language and a button that copies it.
import { CopyButton } from "../parts/CopyButton";

export function CodeBlock({ language, text }: { language: string; text: string }) {
  return (
    <figure className="code">
      <figcaption>
        <span>{language || "text"}</span>
        <CopyButton text={() => text} what="code" />
      </figcaption>
      <pre tabIndex={0} aria-label={`Code${language ? `, ${language}` : ""}`} role="group">
        <code>{text}</code>
      </pre>
    </figure>
  );
}

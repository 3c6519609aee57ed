import { TidewireProvider } from "@tidewire/react";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { App } from "./app";
import { client } from "./server";
import "./styles/tokens.css";
import "./styles/base.css";
import "./styles/shell.css";

createRoot(document.getElementById("app")!).render(
  <StrictMode>
    <TidewireProvider client={client}>
      <App />
    </TidewireProvider>
  </StrictMode>,
);

import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { App } from "./app";
import "./styles/tokens.css";
import "./styles/base.css";
import "./styles/shell.css";

createRoot(document.getElementById("app")!).render(<StrictMode><App /></StrictMode>);

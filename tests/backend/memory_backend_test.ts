import { MemoryBackend } from "../../src/backend/memory_backend.ts";
import { backendSuite } from "./backend_suite.ts";

backendSuite("MemoryBackend", () => Promise.resolve({ backend: new MemoryBackend(), close: async () => {} }));

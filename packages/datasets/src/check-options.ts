/** @throws if the value is none of the choices. */
export function checkChoice(caller: string, name: string, value: unknown, choices: readonly string[]): void {
  if (choices.some((choice) => choice === value)) return;
  const quoted = choices.map((choice) => `"${choice}"`);
  const list = quoted.length > 1 ? `${quoted.slice(0, -1).join(", ")} or ${quoted.at(-1)}` : quoted[0];
  throw new Error(`${caller}: ${name} (${JSON.stringify(value)}) must be ${list}`);
}

/** @throws if a value is not a whole number of at least `least`. */
export function checkWhole(caller: string, values: Readonly<Record<string, number>>, least = 0): void {
  for (const [name, value] of Object.entries(values)) {
    if (Number.isInteger(value) && value >= least) continue;
    throw new Error(
      `${caller}: ${name} (${value}) must be a whole number${least === 0 ? "" : ` of at least ${least}`}`,
    );
  }
}

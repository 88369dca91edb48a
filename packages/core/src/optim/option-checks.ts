// Checks of the numbers that users hand to optimizers and schedules. All throw "caller: name (value) must be ...".

function check(ok: boolean, caller: string, name: string, value: unknown, expected: string): void {
  if (!ok) throw new Error(`${caller}: ${name} (${String(value)}) must be ${expected}`);
}

const isNumber = (value: unknown): value is number => typeof value === "number" && Number.isFinite(value);

export function checkNotNegative(caller: string, name: string, value: number): void {
  check(isNumber(value) && value >= 0, caller, name, value, "a finite number that is not negative");
}

export function checkPositive(caller: string, name: string, value: number): void {
  check(isNumber(value) && value > 0, caller, name, value, "a finite number above 0");
}

/** For decay rates of running averages: at 1 an average would never move. */
export function checkDecayRate(caller: string, name: string, value: number): void {
  check(isNumber(value) && value >= 0 && value < 1, caller, name, value, "in [0, 1)");
}

export function checkBetas(caller: string, betas: readonly [number, number]): void {
  check(Array.isArray(betas) && betas.length === 2, caller, "betas", betas, "a pair of numbers");
  checkDecayRate(caller, "betas[0]", betas[0]);
  checkDecayRate(caller, "betas[1]", betas[1]);
}

export function checkFinite(caller: string, name: string, value: number): void {
  check(isNumber(value), caller, name, value, "a finite number");
}

export function checkCount(caller: string, name: string, value: number, least: number): void {
  check(Number.isSafeInteger(value) && value >= least, caller, name, value, `a whole number of at least ${least}`);
}

// What every program of checks ends with: each check is run, and what became of it told in a line that tests read.

export async function told(checks) {
  for (const [name, check] of Object.entries(checks)) {
    try {
      await check();
      console.log(`ok ${name}`);
    } catch (error) {
      console.log(`not ok ${name}: ${String(error?.stack ?? error).replaceAll('\n', ' | ')}`);
    }
  }
  process.exit(0);
}

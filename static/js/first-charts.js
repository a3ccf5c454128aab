// What is drawn while nobody has chosen: what most runs are judged by, as far as they log it.

const FIRST_PICKS = [/(^|[/_])loss$/, /reward.*mean|score.*mean/, /kl/, /grad_norm/, /(^|\/)lr$|learning_rate/, /throughput|tokens|mfu/, /time/];
const DEFAULT_CHARTS = 4;

export function defaults(names) {
  const picks = FIRST_PICKS.flatMap((pattern) => names.filter((name) => pattern.test(name)));
  return [...new Set([...picks, ...names])].slice(0, DEFAULT_CHARTS);
}

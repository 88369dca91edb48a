import { Option } from "commander";
import { nonNegativeNumber, positiveNumber, share, wholeNumber } from "../../option-parsers.ts";
import { documentKinds } from "../../text/text-corpus.ts";

// Every option of `genai train gpt`. Default values are those of the kinds that take it.

export const gptOptions: readonly Option[] = [
  new Option(
    "--tokenizer <which>",
    "chars, bytes, bpe:SIZE, or a tokenizer's file or folder; auto is chars for alphabets up to 256, bpe:4096 else",
  ),
  new Option(
    "--documents <what>",
    "what is a text of its own, with an end; auto is files in a folder, none in a file",
  ).choices(documentKinds),
  new Option("--n-layer <n>", "blocks").argParser(wholeNumber(1)),
  new Option("--n-head <n>", "attention heads").argParser(wholeNumber(1)),
  new Option("--n-kv-head <n>", "heads of keys and values, which query heads share").argParser(wholeNumber(1)),
  new Option("--n-embd <n>", "width of the residual stream").argParser(wholeNumber(1)),
  new Option("--n-inner <n>", "width of the feed-forward layers").argParser(wholeNumber(1)),
  new Option("--block-size <n>", "context: the most tokens that are seen at once").argParser(wholeNumber(2)),
  new Option("--dropout <share>", "share of activations that is dropped in training").argParser(share),
  new Option("--untied-head", "a head with weights of its own, in place of those of the embedding"),
  new Option("--bias", "biases in linear layers and norms"),
  new Option("--weight-decay <number>", "AdamW's decay, of matrices only").argParser(nonNegativeNumber),
  new Option("--beta2 <share>", "AdamW's decay rate of squared gradients").argParser(share),
  new Option("--max-grad-norm <number>", "scale gradients down to this norm; 0 does not").argParser(nonNegativeNumber),
  new Option("--accumulate <n>", "batches whose gradients make one step").argParser(wholeNumber(1)),
  new Option("--min-learning-rate <number>", "where the cosine ends; a tenth of the largest if not given").argParser(
    nonNegativeNumber,
  ),
  new Option("--warmup <steps>", "steps until the largest learning rate; at most a tenth of all").argParser(
    wholeNumber(0),
  ),
  new Option("--label-smoothing <share>", "share of the target that is spread over all tokens").argParser(share),
  new Option("--eval-every <steps>", "steps between estimates of the losses, with a sample; 0 for none").argParser(
    wholeNumber(0),
  ),
  new Option("--eval-batches <n>", "batches of an estimate").argParser(wholeNumber(1)),
  new Option("--sample-tokens <n>", "tokens of a sample; 0 for none").argParser(wholeNumber(0)),
  new Option("--sample-prompt <text>", "what samples begin with"),
  new Option("--sample-temperature <number>", "temperature of samples").argParser(positiveNumber),
];

import { Option } from "commander";
import { nonNegativeNumber, positiveNumber, share, wholeNumber, wholeNumbers } from "../../option-parsers.ts";

// Every option of `genai train vae`. Default values are those of the kinds that take it.

export const vaeOptions: readonly Option[] = [
  new Option("--latent-dim <n>", "dimensions of the latent space").argParser(wholeNumber(1)),
  new Option("--hidden-channels <list>", "channels of the convolutions, each of which halves the image").argParser(
    wholeNumbers,
  ),
  new Option("--dense-dim <n>", "width of the dense layers of the convolutional model").argParser(wholeNumber(1)),
  new Option("--hidden-dims <list>", "widths of the encoder's layers; the decoder mirrors them").argParser(
    wholeNumbers,
  ),
  new Option(
    "--likelihood <name>",
    "distribution of a pixel; auto is bernoulli for grey images, logistic-mixture else",
  ).choices(["auto", "bernoulli", "gaussian", "logistic-mixture"]),
  new Option(
    "--binarize <how>",
    "draw binary pixels from the grey levels at every step; auto does for bernoulli",
  ).choices(["auto", "dynamic", "none"]),
  new Option("--beta <number>", "weight of the KL term; 1 is the evidence lower bound").argParser(nonNegativeNumber),
  new Option("--beta-warmup <steps>", "steps over which beta grows from 0 to its value").argParser(wholeNumber(0)),
  new Option("--free-bits <nats>", "nats that each latent dimension may carry for free").argParser(nonNegativeNumber),
  new Option("--prior <name>", "distribution of the codes").choices(["standard", "mixture", "vamp", "autoregressive"]),
  new Option("--importance-samples <k>", "train the importance-weighted bound with k draws (IWAE)").argParser(
    wholeNumber(1),
  ),
  new Option("--nll-samples <k>", "estimate -log p(x) of the test set with k draws; 0 does not").argParser(
    wholeNumber(0),
  ),
  new Option("--corrupt <share>", "share of the pixels that a denoising autoencoder does not see").argParser(share),
  new Option("--codes <n>", "entries of the codebook").argParser(wholeNumber(2)),
  new Option("--code-dim <n>", "length of an entry of the codebook").argParser(wholeNumber(1)),
  new Option("--codebook <how>", "how the codebook learns").choices(["ema", "gradient"]),
  new Option("--prior-dim <n>", "width of the transformer over the codes").argParser(wholeNumber(4)),
  new Option("--prior-layers <n>", "layers of the transformer over the codes").argParser(wholeNumber(1)),
  new Option("--hide <share>", "share of the known cells that must be predicted from the others").argParser(share),
  new Option("--min-std <number>", "least standard deviation of a number, in those of its column").argParser(
    positiveNumber,
  ),
  new Option("--mixtures <n>", "Gaussians that are mixed for each number").argParser(wholeNumber(1)),
  new Option("--hidden-size <n>", "width of the recurrent cells, or of the convolutions of a vq").argParser(
    wholeNumber(1),
  ),
  new Option("--embedding-dim <n>", "width of the characters' embedding").argParser(wholeNumber(1)),
  new Option("--word-dropout <share>", "share of the characters that the writer does not see").argParser(share),
  new Option("--image-size <n>", "height and width that images of your own are brought to").argParser(wholeNumber(4)),
  new Option("--skip-broken", "go on without images of your own that cannot be read"),
  new Option("--without-class <name>", "leave a class out, to find it as an anomaly later"),
];

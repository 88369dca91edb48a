import { batchNormEval, batchNormTrain, groupNorm, instanceNorm, layerNorm, rmsNorm } from "@genai/core";
import { describeGolden } from "@genai/testing";

await describeGolden("norms", ({ name, params = {} }) => {
  const eps = params.eps as number;
  const images = ["x", "y", "cotangent"];
  if (name === "layer_norm") {
    return { outputs: ({ x, weight, bias }) => ({ y: layerNorm({ weight: weight!, bias: bias! }, x!, { eps }) }) };
  }
  if (name === "rms_norm") return { outputs: ({ x, weight }) => ({ y: rmsNorm({ weight: weight! }, x!, { eps }) }) };
  if (name.startsWith("group_norm")) {
    const groups = params.groups as number;
    return {
      images,
      outputs: ({ x, weight, bias }) => ({ y: groupNorm({ weight: weight!, bias: bias! }, x!, { groups, eps }) }),
    };
  }
  if (name === "instance_norm") {
    return {
      images,
      outputs: ({ x, weight, bias }) => ({ y: instanceNorm({ weight: weight!, bias: bias! }, x!, { eps }) }),
    };
  }
  if (name === "batch_norm_train") {
    const momentum = params.momentum as number;
    return {
      images,
      outputs: ({ x, weight, bias, running_mean, running_var }) => {
        const before = { running_mean: running_mean!, running_var: running_var! };
        const { y, stats } = batchNormTrain({ weight: weight!, bias: bias! }, x!, before, { momentum, eps });
        return { y, new_running_mean: stats.running_mean, new_running_var: stats.running_var };
      },
    };
  }
  if (name === "batch_norm_eval") {
    return {
      images,
      outputs: ({ x, weight, bias, running_mean, running_var }) => ({
        y: batchNormEval(
          { weight: weight!, bias: bias! },
          x!,
          { running_mean: running_mean!, running_var: running_var! },
          { eps },
        ),
      }),
    };
  }
  throw new Error(`norms: no test for the case ${name}`);
});

import { PbfWriter } from "pbf";

export interface TestModel {
  readonly pieces: readonly (readonly [piece: string, score: number, type?: number])[];
  /** 1 Unigram, 2 BPE, 3 words, 4 characters. */
  readonly modelType?: number;
  readonly byteFallback?: boolean;
  readonly bosId?: number;
  readonly eosId?: number;
  readonly unkId?: number;
  readonly suffix?: boolean;
  readonly addDummyPrefix?: boolean;
  readonly removeExtraWhitespaces?: boolean;
}

export const [NORMAL, UNKNOWN, CONTROL, USER, , BYTE] = [1, 2, 3, 4, 5, 6];

/** The bytes of a SentencePiece model. */
export function writeSentencePiece(model: TestModel): Uint8Array {
  const pbf = new PbfWriter();
  for (const [piece, score, type = NORMAL] of model.pieces)
    pbf.writeMessage(
      1,
      (_, message) => {
        message.writeStringField(1, piece);
        message.writeFloatField(2, score);
        if (type !== NORMAL) message.writeVarintField(3, type!);
      },
      null,
    );
  pbf.writeMessage(
    2,
    (_, message) => {
      message.writeStringField(1, "unknown fields are left out");
      message.writeVarintField(3, model.modelType ?? 1);
      if (model.suffix) message.writeBooleanField(24, true);
      if (model.byteFallback) message.writeBooleanField(35, true);
      message.writeVarintField(40, model.unkId ?? 0);
      message.writeVarintField(41, model.bosId ?? -1);
      message.writeVarintField(42, model.eosId ?? -1);
    },
    null,
  );
  pbf.writeMessage(
    3,
    (_, message) => {
      message.writeBooleanField(3, model.addDummyPrefix ?? true);
      message.writeBooleanField(4, model.removeExtraWhitespaces ?? true);
    },
    null,
  );
  return pbf.finish();
}

import type { PreTokenizer } from "../stages.ts";
import { splitAt } from "./split-behaviour.ts";

// Most common first; all that JavaScript engines of the last years know.
const names =
  "Latin Han Cyrillic Arabic Greek Hebrew Hiragana Katakana Hangul Devanagari Thai Bengali Tamil Telugu Georgian Armenian " +
  "Common Inherited Ethiopic Khmer Lao Myanmar Sinhala Tibetan Gujarati Gurmukhi Kannada Malayalam Oriya Mongolian " +
  "Adlam Ahom Anatolian_Hieroglyphs Avestan Balinese Bamum Bassa_Vah Batak Bhaiksuki Bopomofo Brahmi Braille Buginese " +
  "Buhid Canadian_Aboriginal Carian Caucasian_Albanian Chakma Cham Cherokee Chorasmian Coptic Cuneiform Cypriot " +
  "Cypro_Minoan Deseret Dives_Akuru Dogra Duployan Egyptian_Hieroglyphs Elbasan Elymaic Glagolitic Gothic Grantha " +
  "Gunjala_Gondi Hanifi_Rohingya Hanunoo Hatran Imperial_Aramaic Inscriptional_Pahlavi Inscriptional_Parthian Javanese " +
  "Kaithi Kayah_Li Kharoshthi Khitan_Small_Script Khojki Khudawadi Lepcha Limbu Linear_A Linear_B Lisu Lycian Lydian " +
  "Mahajani Makasar Mandaic Manichaean Marchen Masaram_Gondi Medefaidrin Meetei_Mayek Mende_Kikakui Meroitic_Cursive " +
  "Meroitic_Hieroglyphs Miao Modi Mro Multani Nabataean Nandinagari New_Tai_Lue Newa Nko Nushu Nyiakeng_Puachue_Hmong " +
  "Ogham Ol_Chiki Old_Hungarian Old_Italic Old_North_Arabian Old_Permic Old_Persian Old_Sogdian Old_South_Arabian " +
  "Old_Turkic Old_Uyghur Osage Osmanya Pahawh_Hmong Palmyrene Pau_Cin_Hau Phags_Pa Phoenician Psalter_Pahlavi Rejang " +
  "Runic Samaritan Saurashtra Sharada Shavian Siddham SignWriting Sogdian Sora_Sompeng Soyombo Sundanese Syloti_Nagri " +
  "Syriac Tagalog Tagbanwa Tai_Le Tai_Tham Tai_Viet Takri Tangsa Tangut Thaana Tifinagh Tirhuta Toto Ugaritic Vai " +
  "Vithkuqi Wancho Warang_Citi Yezidi Yi Zanabazar_Square";

const any = -1;
let scripts: readonly RegExp[] | null = null;
let han = 0;
const known = new Map<number, number>();

/** The number of a character's script; Japanese counts as Han, and a space as any script. */
function scriptOf(codePoint: number): number {
  if (codePoint === 0x20) return any;
  let found = known.get(codePoint);
  if (found === undefined) {
    if (scripts === null) {
      const list = names.split(" ");
      han = list.indexOf("Han");
      scripts = list.map((name) => new RegExp(`^\\p{Script=${name}}$`, "u"));
    }
    const letter = String.fromCodePoint(codePoint);
    found = codePoint === 0x30fc ? han : scripts.findIndex((script) => script.test(letter));
    if (/^[\p{Script=Hiragana}\p{Script=Katakana}]$/u.test(letter)) found = han;
    // Not assigned to a script.
    if (found < 0) found = any;
    known.set(codePoint, found);
  }
  return found;
}

/** Cuts where the script changes. As in the Rust library, characters of any script at the start belong to no piece. */
export const unicodeScripts: PreTokenizer = splitAt(
  (text, found) => {
    let start = -1;
    let last = any;
    for (let i = 0; i < text.length; ) {
      const codePoint = text.codePointAt(i)!;
      const script = scriptOf(codePoint);
      if (script !== any) {
        if (start < 0) start = i;
        else if (script !== last) {
          found(start, i);
          start = i;
        }
        last = script;
      }
      i += codePoint > 0xffff ? 2 : 1;
    }
    if (start >= 0) found(start, text.length);
  },
  "Removed",
  true,
);

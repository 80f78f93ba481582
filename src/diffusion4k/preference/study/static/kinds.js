// What is asked in each kind of study: steps, and the choices of each with their keys.

const REASONS = [
  ..."motion blur,out of focus,wrong caption,watermark,composition,exposure".split(","),
  ..."noise,duplicate,unsuitable".split(","),
];

function choice(value, label, keys, more = {}) {
  return { value, label, keys, ...more };
}

function pairwise({ questions, tie }) {
  const choices = [
    choice("left", "A is better", ["1", "ArrowLeft"]),
    ...(tie ? [choice("tie", "No difference", ["0", "ArrowDown"])] : []),
    choice("right", "B is better", ["2", "ArrowRight"]),
  ];
  return questions.map(({ name, title, text }) => ({ name, title, text, choices }));
}

function rating({ questions: [{ name, text }] }) {
  const choices = Array.from({ length: 10 }, (_, index) =>
    choice(String(index + 1), String(index + 1), [String((index + 1) % 10)]),
  );
  const ends = "1 is the worst, 10 the best.";
  return [{ name, title: text, text: ends, choices, many: true }];
}

function inspection() {
  const choices = [
    choice("accepted", "Accept", ["a"]),
    choice("rejected", "Reject", ["r"]),
    ...REASONS.map((reason, index) =>
      choice("rejected", reason, [String(index + 1)], { reason, small: true }),
    ),
  ];
  const text = "Does the image belong in the dataset, with this caption?";
  return [{ name: "decision", title: "Inspection", text, choices, many: true }];
}

const SHOWN = { pairwise: "pairs of images", rating: "patches of images", inspection: "images" };

/** What someone should know before they agree: how much there is, how to look, which keys. */
export function facts(study) {
  const { total, minutes, kind } = study;
  const keys = steps(study)[0]
    .choices.filter(({ small }) => !small)
    .filter(({ label }) => Number.isNaN(Number(label)))
    .map(({ label, keys: [key] }) => `${key} = ${label}`);
  const answers = keys.length ? keys.join(", ") : "1 to 9 and 0 = 10";
  const together = kind === "pairwise" ? " Both images move together." : "";
  const time = `about ${minutes} ${minutes === 1 ? "minute" : "minutes"}`;
  return [
    [`${total} ${SHOWN[kind]}, ${time}. You may pause and come back by your link.`],
    [
      `To look closely, double-click: that is 100%, every pixel. Drag to move, turn the wheel to come closer.${together}`,
      "by-keys",
    ],
    [
      `To look closely, double-tap: that is 100%, every pixel. Drag to move, pinch to come closer.${together}`,
      "by-touch",
    ],
    [`Keys: ${answers}, z = 100% or everything, b = back. All of them are buttons too.`, "by-keys"],
  ];
}

const STEPS = { pairwise, rating, inspection };

/** The questions of a study, one after the other. */
export function steps(study) {
  return STEPS[study.kind](study);
}

/** What keys there are, in words, beside those of the choices. */
export const KEYS = [
  ["z", "whole images or 100%; a double click does so too"],
  ["Shift ←", "moves the images, in all four directions; or drag them"],
  ["+ −", "closer, farther; or turn the wheel, or pinch"],
  ["b", "back, to change an answer"],
];

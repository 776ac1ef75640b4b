/** A law of the lanes that does not hold. */
export class Broken extends Error {}

export const law = (holds: boolean, story: string): void => {
  if (!holds) throw new Broken(story)
}

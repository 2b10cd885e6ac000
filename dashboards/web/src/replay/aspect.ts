/** Width of a terminal for its height: a cell of the player's font is 0.6 wide where a line is 1.33 high. */
export const aspect = ({ cols, rows }: { cols: number; rows: number }) => (cols * 0.6) / (rows * 1.33);

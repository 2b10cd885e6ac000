import { PostgreSQL, sql } from "@codemirror/lang-sql";
import { HighlightStyle, syntaxHighlighting } from "@codemirror/language";
import { Compartment, EditorState, Prec } from "@codemirror/state";
import { EditorView, keymap } from "@codemirror/view";
import { tags } from "@lezer/highlight";
import { basicSetup } from "codemirror";
import { useEffect, useRef } from "react";

const theme = EditorView.theme({
  "&": {
    backgroundColor: "var(--card)",
    color: "var(--text)",
    fontSize: "13px",
    maxHeight: "40vh",
    minHeight: "120px",
  },
  "&.cm-focused": { outline: "2px solid var(--accent)", outlineOffset: "-1px" },
  ".cm-scroller": { fontFamily: "var(--mono)", minHeight: "120px" },
  ".cm-content": { caretColor: "var(--text)" },
  ".cm-cursor": { borderLeftColor: "var(--text)" },
  ".cm-gutters": {
    backgroundColor: "var(--back)",
    borderRight: "1px solid var(--line)",
    color: "var(--soft)",
    minHeight: "120px",
  },
  ".cm-activeLine, .cm-activeLineGutter": { backgroundColor: "transparent" },
  "&.cm-focused .cm-selectionBackground, .cm-selectionBackground": {
    backgroundColor: "light-dark(#cfe3ec, #2b4a58) !important",
  },
  ".cm-tooltip": { backgroundColor: "var(--card)", border: "1px solid var(--line)", color: "var(--text)" },
  ".cm-tooltip-autocomplete > ul > li[aria-selected]": {
    backgroundColor: "light-dark(#1f6f8b, #2b6f88)",
    color: "#fff",
  },
  ".cm-completionIcon": { display: "none" },
});

const colors = HighlightStyle.define([
  { tag: tags.keyword, color: "light-dark(#8a3ba8, #cf9be6)" },
  { tag: [tags.string, tags.special(tags.string)], color: "light-dark(#1b7037, #8fd19e)" },
  { tag: [tags.number, tags.bool, tags.null], color: "light-dark(#a04a00, #ffb77a)" },
  { tag: tags.comment, color: "var(--soft)", fontStyle: "italic" },
  { tag: [tags.typeName, tags.standard(tags.name)], color: "light-dark(#1f6f8b, #7fc1d8)" },
]);

/**
 * Typing over what is selected: the browser would put an element with a style of its own there, which the content security
 * policy refuses, before the editor takes it away again.
 */
const typedOver = EditorView.domEventHandlers({
  beforeinput(event, view) {
    const { from, to, empty } = view.state.selection.main;
    const { data } = event;
    if (event.inputType !== "insertText" || data === null || empty || view.composing) return false;
    event.preventDefault();
    const insert = () =>
      view.state.update(view.state.replaceSelection(data), { scrollIntoView: true, userEvent: "input.type" });
    const isTaken = view.state.facet(EditorView.inputHandler).some((handler) => handler(view, from, to, data, insert));
    if (!isTaken) view.dispatch(insert());
    return true;
  },
});

interface Props {
  value: string;
  onChange: (value: string) => void;
  /** Is given what stands there: it may have been typed just now. */
  onRun: (sql: string) => void;
  /** Tables with their columns, as far as they are known. */
  schema: Record<string, string[]> | undefined;
}

/**
 * An editor for SQL, which completes tables and columns. It lives in a shadow root: only there its style sheets are adopted
 * and not written into <style> elements, which the content security policy refuses.
 */
export default function Editor({ value, onChange, onRun, schema }: Props) {
  const host = useRef<HTMLDivElement>(null);
  const view = useRef<EditorView>(undefined);
  const language = useRef(new Compartment());
  const props = useRef({ value, onChange, onRun });
  useEffect(() => {
    props.current = { value, onChange, onRun };
  });

  useEffect(() => {
    const element = host.current;
    if (element === null) return;
    const root = element.shadowRoot ?? element.attachShadow({ mode: "open" });
    const editor = new EditorView({
      root,
      parent: root,
      state: EditorState.create({
        doc: props.current.value,
        extensions: [
          Prec.highest(
            keymap.of([
              {
                key: "Mod-Enter",
                run: ({ state }) => {
                  props.current.onRun(state.doc.toString());
                  return true;
                },
              },
            ]),
          ),
          basicSetup,
          language.current.of(sql({ dialect: PostgreSQL })),
          typedOver,
          theme,
          syntaxHighlighting(colors),
          EditorView.lineWrapping,
          EditorView.contentAttributes.of({ "aria-label": "SQL" }),
          EditorView.updateListener.of(({ docChanged, state }) => {
            if (docChanged) props.current.onChange(state.doc.toString());
          }),
        ],
      }),
    });
    view.current = editor;
    editor.focus();
    // To the page what is typed in here comes from an element that nobody types into: its keys are none of the page's.
    const keep = (event: KeyboardEvent) => event.stopPropagation();
    element.addEventListener("keydown", keep);
    return () => {
      element.removeEventListener("keydown", keep);
      editor.destroy();
    };
  }, []);

  useEffect(() => {
    const support = sql({ dialect: PostgreSQL, ...(schema === undefined ? {} : { schema }) });
    view.current?.dispatch({ effects: language.current.reconfigure(support) });
  }, [schema]);

  // Something else than typing has changed it: the history, a shared address.
  useEffect(() => {
    const editor = view.current;
    if (editor === undefined || editor.state.doc.toString() === value) return;
    editor.dispatch({ changes: { from: 0, to: editor.state.doc.length, insert: value } });
  }, [value]);

  return <div ref={host} />;
}

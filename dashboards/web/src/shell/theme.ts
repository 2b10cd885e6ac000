import {
  convertCssVariables,
  createTheme,
  DEFAULT_THEME,
  Drawer,
  defaultCssVariablesResolver,
  type MantineColorsTuple,
  Modal,
  mergeMantineTheme,
  Tooltip,
} from "@mantine/core";

const slate: MantineColorsTuple = [
  "#eef6f9",
  "#dbeaf0",
  "#b3d4e0",
  "#88bdd0",
  "#65aac3",
  "#4e9ebb",
  "#3f97b7",
  "#3083a2",
  "#1f6f8b",
  "#06627d",
];

/** From text to page, the colours of `global.css`. */
const dark: MantineColorsTuple = [
  "#e4e8ee",
  "#c3cbd6",
  "#9aa5b4",
  "#75818f",
  "#3d4856",
  "#2f3845",
  "#212936",
  "#191f28",
  "#12161c",
  "#0d1015",
];

/** Dense: the smallest sizes are the usual ones. */
export const theme = createTheme({
  colors: { slate, dark },
  primaryColor: "slate",
  primaryShade: 8,
  fontFamily: "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'DejaVu Sans', sans-serif",
  fontFamilyMonospace: "ui-monospace, 'Cascadia Mono', 'DejaVu Sans Mono', Menlo, Consolas, monospace",
  defaultRadius: "sm",
  cursorType: "pointer",
  components: {
    // Locking the page's scrolling writes a <style> element, which the content security policy refuses.
    Modal: Modal.extend({
      defaultProps: {
        lockScroll: false,
        transitionProps: { duration: 0 },
        closeButtonProps: { "aria-label": "Close" },
      },
    }),
    Drawer: Drawer.extend({ defaultProps: { lockScroll: false, transitionProps: { duration: 0 } } }),
    Tooltip: Tooltip.extend({ defaultProps: { openDelay: 300, multiline: true, maw: 320 } }),
  },
});

/** Gives a document the theme's variables, in a sheet that needs no <style> element. */
export function adoptTheme(document: Document): void {
  const variables = defaultCssVariablesResolver(mergeMantineTheme(DEFAULT_THEME, theme));
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(convertCssVariables(variables, ":root"));
  document.adoptedStyleSheets.push(sheet);
}

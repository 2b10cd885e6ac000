import { MantineProvider } from "@mantine/core";
import { QueryClientProvider } from "@tanstack/react-query";
import { Suspense } from "react";
import { Redirect, Route, Switch, useLocation } from "wouter";
import { queryClient } from "./api/client";
import { KeysOverlay } from "./keys/KeysOverlay";
import { KeysProvider } from "./keys/keys";
import { pages } from "./pages";
import { NotFound } from "./pages/NotFound/NotFound";
import { ErrorBoundary } from "./shell/ErrorBoundary";
import { Shell } from "./shell/Shell";
import { theme } from "./shell/theme";
import { ZoneProvider } from "./time/zone";
import { Loading } from "./ui/states";

export function App() {
  return (
    // The theme's variables are adopted by `theme.ts`: <style> elements are refused by the content security policy.
    <MantineProvider theme={theme} defaultColorScheme="auto" withCssVariables={false} withGlobalClasses={false}>
      <QueryClientProvider client={queryClient}>
        <ZoneProvider>
          <KeysProvider>
            <Shell>
              <Routes />
            </Shell>
            <KeysOverlay />
          </KeysProvider>
        </ZoneProvider>
      </QueryClientProvider>
    </MantineProvider>
  );
}

function Routes() {
  const [path] = useLocation();
  const first = pages.find(({ name }) => name !== undefined)?.path ?? "/";
  return (
    <ErrorBoundary key={path}>
      <Suspense fallback={<Loading />}>
        <Switch>
          {pages.map(({ path, page }) => (
            <Route key={path} path={path} component={page} />
          ))}
          {first !== "/" && (
            <Route path="/">
              <Redirect to={first} replace />
            </Route>
          )}
          <Route component={NotFound} />
        </Switch>
      </Suspense>
    </ErrorBoundary>
  );
}
